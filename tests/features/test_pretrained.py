"""Against ``transformers`` as it comes, one input at a time, in fp32."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, Wav2Vec2FeatureExtractor

from ms2sl.audio.speech import Speech
from ms2sl.data import speech_synthesis
from ms2sl.errors import InputError
from ms2sl.features import featurizer, same_featurizer
from ms2sl.features.base import SpeechConfig, TextConfig
from ms2sl.features.pretrained import by_length
from tests.features import checkpoints

SENTENCES = ["hello", "a much longer sentence, with many more letters than the others have.", "to you", "x"]
KINDS = ["hubert", "hubert-large", "wav2vec2", "wavlm"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return checkpoints.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory):
    return checkpoints.multilingual_clip(tmp_path_factory.mktemp("altclip"))


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    return {kind: checkpoints.speech_encoder(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def text(folder, **options):
    return featurizer(TextConfig(featurizer="clip", weights=str(folder), **options), "text")


def hubert(folder, **options):
    return featurizer(SpeechConfig(featurizer="hubert", weights=str(folder), **options), "speech")


def recordings(*seconds: float) -> list[Speech]:
    rng = np.random.default_rng(0)
    return [Speech((0.1 * rng.normal(size=int(length * 16_000))).astype(np.float32), 16_000) for length in seconds]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())


@pytest.mark.parametrize("layer", [-1, 1])
def test_clip_says_what_stock_clip_says_padded_to_77_tokens(clip, layer):
    stock, tokenizer = AutoModel.from_pretrained(clip).text_model.eval(), AutoTokenizer.from_pretrained(clip)
    made = text(clip, precision="fp32", layer=layer)(SENTENCES)
    for sentence, own in zip(SENTENCES, made, strict=True):
        tokens = tokenizer([sentence], padding="max_length", max_length=77, return_tensors="pt")
        with torch.no_grad():
            output = stock(**tokens, output_hidden_states=True)
        expected = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
        length = int(tokens["attention_mask"].sum())
        assert own.shape == (length, 32)
        assert np.abs(own - expected[0, :length].numpy()).max() < 4e-3


def test_a_multilingual_encoder_masks_what_is_padding(multilingual):
    stock, tokenizer = AutoModel.from_pretrained(multilingual).text_model.eval(), AutoTokenizer.from_pretrained(multilingual)
    sentences = ["grüße", "es wird viel kälter als gestern und so weiter", "nein"]
    for sentence, own in zip(sentences, text(multilingual, precision="fp32")(sentences), strict=True):
        with torch.no_grad():
            expected = stock(**tokenizer([sentence], return_tensors="pt")).last_hidden_state[0].numpy()
        assert own.shape == expected.shape
        assert np.abs(own - expected).max() < 4e-3


@pytest.mark.parametrize("kind", KINDS)
def test_speech_encoders_say_in_a_batch_what_they_say_of_each_recording_alone(encoders, kind):
    stock, extractor = AutoModel.from_pretrained(encoders[kind]).eval(), Wav2Vec2FeatureExtractor.from_pretrained(encoders[kind])
    speeches = recordings(0.9, 2.3, 0.4, 1.7)
    for speech, own in zip(speeches, hubert(encoders[kind], precision="fp32")(speeches), strict=True):
        with torch.no_grad():
            values = extractor(speech.waveform, sampling_rate=16_000, return_tensors="pt").input_values
            expected = stock(values).last_hidden_state[0].numpy()
        assert own.shape == expected.shape
        assert np.abs(own - expected).max() < 4e-3


def test_states_are_averaged_to_the_rate_that_is_asked_for(encoders):
    [speech] = recordings(1.5)
    [fine], [coarse] = (
        hubert(encoders["hubert"], precision="fp32")([speech]),
        hubert(encoders["hubert"], precision="fp32", rate=12.5)([speech]),
    )
    assert len(fine) == 74
    assert len(coarse) == 19
    assert np.allclose(coarse[3], fine[12:16].astype(np.float32).mean(axis=0), atol=2e-3)
    assert np.allclose(coarse[18], fine[72:].astype(np.float32).mean(axis=0), atol=2e-3)


def test_other_sampling_rates_are_resampled(encoders):
    [speech] = recordings(1.0)
    assert len(hubert(encoders["hubert"])([speech.resampled(44_100)])[0]) == len(hubert(encoders["hubert"])([speech])[0])


@pytest.mark.parametrize("normalises", [True, False])
def test_quiet_speech_has_the_states_of_loud_speech(encoders, tmp_path, normalises):
    folder, spoken = shutil.copytree(encoders["hubert"], tmp_path / "hubert"), speech_synthesis.spell("cab")
    Wav2Vec2FeatureExtractor(do_normalize=normalises).save_pretrained(folder)
    loud, quiet = hubert(folder, precision="fp32")([spoken, replace(spoken, waveform=spoken.waveform / 30)])
    assert cosine(loud, quiet) > 0.9999
    loud, quiet = hubert(folder, precision="fp32", level=None)([spoken, replace(spoken, waveform=spoken.waveform / 1000)])
    assert normalises or cosine(loud, quiet) < 0.9999, "otherwise the lines above say nothing"


def test_bf16_is_near_fp32(clip, encoders):
    for one, other in zip(text(clip, precision="bf16")(SENTENCES), text(clip, precision="fp32")(SENTENCES), strict=True):
        assert cosine(one, other) > 0.999
    speeches = recordings(1.0, 0.5)
    made = (hubert(encoders["hubert"], precision=precision)(speeches) for precision in ("bf16", "fp32"))
    for one, other in zip(*made, strict=True):
        assert cosine(one, other) > 0.999


def test_the_record_finds_the_same_featurizer_and_refuses_another(clip, tmp_path):
    copy = shutil.copytree(clip, tmp_path / "copy")
    made = text(copy)
    assert made.features.precision in ("bf16", "fp32")
    again = same_featurizer(type(made.features).model_validate_json(made.features.model_dump_json()))
    assert all(np.array_equal(a, b) for a, b in zip(made(SENTENCES), again(SENTENCES), strict=True))
    model = AutoModel.from_pretrained(copy)
    torch.nn.init.normal_(model.text_model.final_layer_norm.weight)
    model.save_pretrained(copy)
    same_featurizer.cache_clear()  # as in another process
    with pytest.raises(InputError, match="not those that the data were made with"):
        same_featurizer(made.features)


def test_weights_that_cannot_be_had_say_how_to_get_them(tmp_path):
    with pytest.raises(InputError, match=r"cannot be had .*hf download nobody/nothing .*--text\.weights FOLDER.*'bytes' needs none"):
        text("nobody/nothing")
    with pytest.raises(InputError, match=r"cannot be had .*'log-mel' needs none"):
        hubert(tmp_path)
    with pytest.raises(InputError, match=r"needs pretrained weights: --speech\.weights"):
        featurizer(SpeechConfig(featurizer="hubert"), "speech")


def test_inputs_and_options_that_make_no_sense_are_explained(clip, encoders, tmp_path):
    clip_with_an_extractor = shutil.copytree(clip, tmp_path / "both")
    Wav2Vec2FeatureExtractor().save_pretrained(clip_with_an_extractor)
    with pytest.raises(InputError, match="the text is empty"):
        text(clip)(["fine", " "])
    with pytest.raises(InputError, match="202 tokens, more than the 77"):
        text(clip)(["a" * 200])
    with pytest.raises(InputError, match=r"lasts 0\.010 s"):
        hubert(encoders["hubert"])(recordings(0.01))
    with pytest.raises(InputError, match=r"--speech\.rate 13 does not divide the 50"):
        hubert(encoders["hubert"], rate=13)
    with pytest.raises(InputError, match="not of the family of HuBERT"):
        hubert(clip_with_an_extractor)
    with pytest.raises(InputError, match="has no pretrained weights and no option weights"):
        featurizer(TextConfig(weights="x"), "text")


def test_batches_hold_inputs_of_like_length_within_the_budget():
    lengths = [5, 100, 6, 7, 300, 5]
    batches = list(by_length(lengths, 20))
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert batches == [[0, 5, 2], [3], [1], [4]]
