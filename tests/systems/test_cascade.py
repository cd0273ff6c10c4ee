import json
import string
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from ms2sl.audio.speech import Speech
from ms2sl.corpora.fingerspelling import Fingerspelling, FingerspellingConfig
from ms2sl.data.training_clips import TrainingClips
from ms2sl.data.types import Clip, Utterance
from ms2sl.errors import InputError
from ms2sl.features import featurizer
from ms2sl.features.base import TextConfig
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems.baselines import NearestText
from ms2sl.systems.cascade import OWN, Cascade, OwnSpeechRecognizer, PretrainedSpeechRecognizer, open_recognizer
from ms2sl.systems.ms2sl.model import MS2SL
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from tests.features import checkpoints


@pytest.fixture(scope="module")
def speech(corpus) -> list[Speech]:
    return [corpus.clip(i).speech for i in range(4)]


@pytest.fixture(scope="module")
def producer(tiny_checkpoint, speech) -> MS2SLProducer:
    """Hears letters that it knows or nothing, and not the same throughout, as random weights would."""
    producer = MS2SLProducer.load(tiny_checkpoint, options=Sampling(steps=2))
    ctc, heard = producer.model.ctc, [*producer.card.characters.encode(), 256]
    with torch.no_grad():
        usual = torch.cat([tokens_of(producer, each) for each in speech]).mean(dim=0)
        centred = -(ctc.weight[heard] @ usual)
        ctc.bias.fill_(-1e4)[heard] = centred
    return producer


@torch.no_grad()
def tokens_of(producer: MS2SLProducer, speech: Speech) -> torch.Tensor:
    """What its encoder makes of speech that is alone ``(tokens, width)``."""
    batch = producer.collate.batch([None], [None], [producer.features(Utterance("u", speech=speech))[1]])
    encoded = producer.model.conditions(batch)["speech"]
    return encoded.tokens[0, : int(encoded.mask[0].sum())]


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory) -> Path:
    """A tiny recogniser of speech with random weights, of the real classes."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("ear")
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *string.ascii_lowercase])}
    (folder / "letters.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(str(folder / "letters.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**checkpoints.SPEECH, vocab_size=len(vocabulary), pad_token_id=0))
    with torch.no_grad():
        model.lm_head.weight *= 20  # or it would say a letter or two
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


class Dictation:
    """Understands all it is told, and keeps what it was given."""

    def __init__(self, *texts: str):
        self.texts, self.given = texts, []

    def __call__(self, speech: Sequence[Speech]) -> list[str]:
        self.given += speech
        return list(self.texts)


def spoken(speech: Sequence[Speech], **extra) -> list[Utterance]:
    return [Utterance(f"u{i}", speech=each, **extra) for i, each in enumerate(speech)]


def same(one, other) -> bool:
    return all(a.joints.shape == b.joints.shape and np.allclose(a.joints, b.joints, atol=1e-4) for a, b in zip(one, other, strict=True))


def greedy(scores: np.ndarray, blank: int) -> list[int]:
    """Best path: repeats merged, then blanks dropped."""
    return [token for token, _ in groupby(scores.argmax(axis=-1).tolist()) if token != blank]


@pytest.mark.parametrize("kind", ["own", "pretrained"])
def test_it_signs_what_is_signed_of_the_text_that_was_heard(kind, producer, recogniser, speech):
    ear = OwnSpeechRecognizer(producer) if kind == "own" else PretrainedSpeechRecognizer(str(recogniser))
    signer = producer if kind == "own" else NearestText(TrainingClips.of_clips(known_clips(), producer.skeleton))
    heard = ear(speech)
    assert len(set(heard)) > 1
    assert all(heard)
    texts = [Utterance(f"u{i}", text=text) for i, text in enumerate(heard)]
    assert same(Cascade(ear, signer).produce(spoken(speech), seed=3), signer.produce(texts, seed=3))


def known_clips() -> list[Clip]:
    corpus = Fingerspelling(FingerspellingConfig(train=8, dev=1, test=1, missing_speech=1, missing_text=0))
    return [corpus.clip(i) for i in corpus.splits["train"]]


def test_each_utterance_gets_what_was_heard_in_it(producer, speech):
    ear = Dictation("cab", "deaf", "bad")
    made = Cascade(ear, producer).produce(spoken(speech[:3]), seed=1)
    assert [id(each) for each in ear.given] == [id(each) for each in speech[:3]]
    assert same(made, producer.produce([Utterance(text, text=text) for text in ear.texts], seed=1))
    assert not same(made[:1], made[1:2])


def test_the_text_of_the_utterance_is_not_read(producer, speech):
    with_text = [Utterance("u", text="deaf", speech=speech[0])]
    assert same(Cascade(OwnSpeechRecognizer(producer), producer).produce(with_text, seed=0), heard_of(producer, speech[0]))
    other_text = [Utterance("u", text="bad", speech=speech[0])]
    assert same(Cascade(OwnSpeechRecognizer(producer), producer).produce(other_text, seed=0), heard_of(producer, speech[0]))


def heard_of(producer: MS2SLProducer, speech: Speech):
    return producer.produce([Utterance("u", text=OwnSpeechRecognizer(producer)([speech])[0])], seed=0)


def test_the_length_asked_for_is_the_length_made(producer, speech):
    (poses,) = Cascade(Dictation("cab"), producer).produce(spoken(speech[:1], seconds=3.2), seed=0)
    assert poses.n_frames == 40


def test_it_needs_speech(producer, speech):
    mixed = [*spoken(speech[:1]), Utterance("deaf", text="cab")]
    with pytest.raises(InputError, match="deaf: a cascade needs speech"):
        Cascade(OwnSpeechRecognizer(producer), producer).produce(mixed, seed=0)


def test_what_is_heard_and_cannot_be_signed_is_explained(producer, speech):
    with pytest.raises(InputError, match=r"u1: .*learned only"):
        Cascade(Dictation("cab", "naïve"), producer).produce(spoken(speech[:2]), seed=0)
    with pytest.raises(InputError, match="u0: the text is empty"):
        Cascade(Dictation(""), producer).produce(spoken(speech[:1]), seed=0)


def test_of_what_was_heard_only_the_characters_that_can_be_signed_are(producer, speech):
    heard = Cascade(Dictation(" Cab, 1! "), producer, producer.card.characters).produce(spoken(speech[:1]), seed=0)[0]
    expected = producer.produce([Utterance("u0", text="cab")], seed=0)[0]
    np.testing.assert_allclose(heard.joints, expected.joints, atol=1e-5)


def test_nobody_says_nothing(producer):
    assert Cascade(OwnSpeechRecognizer(producer), producer).produce([], seed=0) == []


@torch.no_grad()
def test_its_own_ear_takes_the_best_path(producer, speech):
    ctc = producer.model.ctc
    scores = [(tokens_of(producer, each) @ ctc.weight.T + ctc.bias).numpy() for each in speech]
    expected = [bytes(greedy(each, blank=256)).decode() for each in scores]
    assert OwnSpeechRecognizer(producer)(speech) == expected
    assert [OwnSpeechRecognizer(producer)([each])[0] for each in speech] == expected, "padding is not heard"
    assert len(set(expected)) == len(expected)


def test_bytes_that_are_no_text_are_marked(tiny_checkpoint, speech):
    producer = MS2SLProducer.load(tiny_checkpoint, options=Sampling(steps=2))
    torch.nn.init.constant_(producer.model.ctc.bias[0xFF], 1e4)
    assert OwnSpeechRecognizer(producer)(speech[:2]) == ["\N{REPLACEMENT CHARACTER}"] * 2


def test_a_model_without_an_ear_is_explained(producer, tiny_model, tmp_path):
    vectors = featurizer(TextConfig(featurizer="clip", weights=str(checkpoints.clip(tmp_path))), "text").features
    card = producer.card.model_copy(update={"text": vectors})
    deaf = MS2SLProducer(MS2SL(tiny_model, card.skeleton, card.text, card.speech), card)
    with pytest.raises(InputError, match="no ear of its own"):
        open_recognizer(OWN, deaf)


@torch.no_grad()
def test_a_pretrained_ear_hears_what_its_model_decodes_greedily(recogniser, speech):
    model = Wav2Vec2ForCTC.from_pretrained(recogniser).eval()
    letters = {i: token for token, i in json.loads((recogniser / "vocab.json").read_text()).items()}
    expected = []
    for each in speech:
        waveform = each.waveform.astype(np.float64)
        waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        scores = model(torch.tensor(waveform[None], dtype=torch.float32)).logits[0].numpy()
        expected.append("".join(letters[i] for i in greedy(scores, blank=0)).replace("|", " ").strip())
    assert PretrainedSpeechRecognizer(str(recogniser))(speech) == expected
    assert len(set(expected)) > 1
    assert all(expected)


def test_a_pretrained_ear_hears_at_its_own_rate(recogniser, speech):
    ear, telephone = PretrainedSpeechRecognizer(str(recogniser)), [each.resampled(8000) for each in speech]
    assert ear(telephone) == ear([each.resampled(16000) for each in telephone])


def test_the_name_decides_whose_ear_it_is(producer, recogniser):
    assert isinstance(open_recognizer(OWN, producer), OwnSpeechRecognizer)
    assert isinstance(open_recognizer(str(recogniser), producer), PretrainedSpeechRecognizer)


@pytest.mark.parametrize("name", ["nobody/has-this", "/nowhere/at/all", "not a name!", "empty", "text encoder"])
def test_a_name_of_no_recogniser_is_explained_at_once(name, tmp_path, offline, monkeypatch):
    """What is tried again waits before it is."""
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    folders = {"empty": lambda: tmp_path, "text encoder": lambda: checkpoints.clip(tmp_path)}
    wanted = str(folders[name]()) if name in folders else name
    with pytest.raises(InputError, match="is no recogniser of speech that transformers can load") as error:
        PretrainedSpeechRecognizer(wanted)
    assert sum(waited) < 1
    assert "\n" not in str(error.value)


def test_an_encoder_of_speech_that_cannot_write_is_explained(tmp_path, offline):
    with pytest.raises(InputError, match="is no recogniser of speech"):
        PretrainedSpeechRecognizer(str(checkpoints.speech_encoder(tmp_path, "wav2vec2")))


@pytest.mark.parametrize("samples", [1, 300])
def test_speech_that_is_too_short_for_the_ear_is_explained(recogniser, samples):
    with pytest.raises(InputError, match="record at least one word"):
        PretrainedSpeechRecognizer(str(recogniser))([Speech(np.zeros(samples, np.float32), 16000)])
