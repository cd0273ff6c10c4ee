import numpy as np
import pytest
import torch
from cachetools import LRUCache

from ms2sl.audio.speech import Speech
from ms2sl.data.collate import TEXT_MULTIPLE
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.inference.segmentation import segment
from ms2sl.systems.ms2sl import task
from ms2sl.systems.ms2sl.condition_cache import BATCH, ConditionEncoderCache, EncodedUtterance, one_after_another
from ms2sl.systems.ms2sl.condition_encoders import Condition


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return task.load(tiny_checkpoint)


@pytest.fixture
def hearing(model) -> ConditionEncoderCache:
    return ConditionEncoderCache(*model, torch.device("cpu"))


def word(text: str) -> Utterance:
    return Utterance(text, text=text)


@pytest.fixture(scope="module")
def speech(corpus) -> Speech:
    return next(clip.speech for clip in map(corpus.clip, range(40)) if clip.speech is not None)


def same(one: EncodedUtterance, other: EncodedUtterance) -> bool:
    def alike(a: Condition, b: Condition) -> bool:
        return all(
            x.shape == y.shape and torch.allclose(x, y, atol=1e-5)
            for x, y in ((a.tokens, b.tokens), (a.log_durations, b.log_durations), (a.embedding, b.embedding), (a.mask, b.mask))
        )

    pairs = [alike(one.conditions[modality], other.conditions[modality]) for modality in one.conditions]
    return (
        one.conditions.keys() == other.conditions.keys() and all(pairs) and one.said == other.said and np.isclose(one.frames, other.frames)
    )


def heard_anew(model, utterance: Utterance) -> EncodedUtterance:
    return ConditionEncoderCache(*model, torch.device("cpu"))([utterance])[0]


def encodings(hearing: ConditionEncoderCache, monkeypatch) -> list[int]:
    """How many utterances each call of the encoders is given."""
    calls, encode = [], hearing._encode
    monkeypatch.setattr(hearing, "_encode", lambda said, *more: calls.append(len(said)) or encode(said, *more))
    return calls


def test_what_is_remembered_is_what_would_be_heard_anew(model, hearing, speech, monkeypatch):
    calls = encodings(hearing, monkeypatch)
    everyone = [word("cab"), Utterance("s", speech=speech), word("abcdefgh"), Utterance("b", text="cab", speech=speech), word("cab")]
    first, again = hearing(everyone), hearing(everyone[::-1])[::-1]
    assert sorted(calls) == [1, 1, 2]
    for utterance, one, other in zip(everyone, first, again, strict=True):
        assert same(one, other)
        assert same(one, heard_anew(model, utterance))
    assert all(one is other for one, other in zip(first, again, strict=True))


def test_who_says_it_and_how_long_it_is_to_take_do_not_matter(hearing, monkeypatch):
    calls = encodings(hearing, monkeypatch)
    one, other = hearing([Utterance("x", text="cab"), Utterance("y", text="cab", seconds=9.0)])
    assert one is other
    assert calls == [1]


def test_text_speech_and_both_are_told_apart(hearing, speech):
    other, slower = Speech(speech.waveform[::-1], speech.rate), Speech(speech.waveform, speech.rate // 2)
    everyone = [
        word("cab"),
        Utterance("s", speech=speech),
        Utterance("o", speech=other),
        Utterance("r", speech=slower),
        Utterance("b", text="cab", speech=speech),
    ]
    for _ in range(2):
        heard = hearing(everyone)
        assert [tuple(each.conditions) for each in heard] == [("text",), *[("speech",)] * 3, ("text", "speech")]
        assert len({each.said for each in heard}) == len({each.noise_seed(0) for each in heard}) == 5


def test_noise_differs_with_the_seed_and_with_what_is_said(hearing):
    cab, bad, again = hearing([word("cab"), word("bad"), word(" CAB ")])
    seeds = [0, 1, -1, 2**63, 2**64 - 2]
    assert len({each.noise_seed(seed) for each in (cab, bad) for seed in seeds}) == 10
    assert [again.noise_seed(seed) for seed in seeds] == [cab.noise_seed(seed) for seed in seeds]
    assert all(0 <= cab.noise_seed(seed) < 2**63 for seed in seeds)


def test_no_more_is_remembered_than_there_is_room_for(model, hearing):
    few = 3 * hearing([word("cabs")])[0].size
    hearing._known = LRUCache(few, getsizeof=lambda heard: heard.size)
    everyone = [word(text) for text in ("cab", "bad", "dab", "fed", "bed", "ace", "abcdefghijklmnopqrstuvwxy")]
    for _ in range(2):
        for utterance, heard in zip(everyone, hearing(everyone), strict=True):
            assert same(heard, heard_anew(model, utterance))
        assert sum(each.size for each in hearing._known.values()) == hearing._known.currsize <= few
    assert 1 < len(hearing._known) < len(everyone)


def test_what_has_a_size_of_its_tokens_and_features(hearing):
    (heard,) = hearing([word("cab")])
    assert heard.size == 3 + 3 * 16 * 4 + 3 * 4  # letters, tokens of width 16, durations


def test_what_was_said_last_is_remembered(hearing, monkeypatch):
    (cab,) = hearing([word("cab")])
    hearing._known = LRUCache(2 * cab.size, getsizeof=lambda heard: heard.size)
    for text in ("cab", "bad", "cab", "dab"):
        hearing([word(text)])
    calls = encodings(hearing, monkeypatch)
    hearing([word("cab")])
    assert calls == []
    hearing([word("bad")])
    assert calls == [1]


def test_many_are_heard_in_batches_and_each_as_it_would_be_alone(model, hearing, monkeypatch):
    calls = encodings(hearing, monkeypatch)
    everyone = [word("abcdefghijklmnop"[i % 7 : i % 7 + 1 + i // 7]) for i in range(BATCH + 8)]
    heard = hearing(everyone)
    assert max(calls) <= BATCH
    assert sum(calls) == len({utterance.text for utterance in everyone})
    assert all(same(each, heard_anew(model, utterance)) for utterance, each in zip(everyone, heard, strict=True))


def test_a_condition_holds_no_padding(hearing, speech):
    short, long, spoken = hearing([word("ab"), word("abcdefghij"), Utterance("s", speech=speech)])
    assert short.conditions["text"].tokens.shape[:2] == (1, 2)
    assert long.conditions["text"].tokens.shape[:2] == (1, 10)
    assert all(condition.mask.all() for each in (short, long, spoken) for condition in each.conditions.values())
    assert short.conditions["text"].log_length.exp().item() < long.conditions["text"].log_length.exp().item()


@pytest.mark.parametrize(("text", "unknown"), [("go 7🙂!", "'7', '🙂'"), ("naïve", "'ï'"), ("a+b", r"'\+'")])
def test_what_cutting_leaves_for_the_model_to_refuse_is_refused_by_name(hearing, text, unknown):
    with pytest.raises(InputError, match=f"u: .* has {unknown} in it; the model learned only"):
        hearing(list(segment(Utterance("u", text=text), hearing.card)))


def test_what_was_refused_is_not_remembered(hearing):
    for name in ("one", "two"):
        with pytest.raises(InputError, match=f"{name}: "):
            hearing([word("cab"), Utterance(name, text="7")])
        with pytest.raises(InputError, match=f"{name}: it has neither"):
            hearing([Utterance(name)])


def part(tokens: list[float], durations: list[float]) -> Condition:
    """Tokens of one number each."""
    n = len(tokens)
    return Condition(
        torch.tensor(tokens)[None, :, None],
        torch.ones(1, n, dtype=torch.bool),
        torch.tensor([durations]).log(),
        torch.ones(1, 4),
        torch.tensor(-1),
    )


def test_parts_are_laid_out_one_after_another_in_frames():
    one, two, three = part([1.0, 2.0], [3.0, 1.0]), part([3.0], [50.0]), part([4.0, 5.0, 6.0], [1.0, 1.0, 2.0])
    laid = one_after_another([[one, two, three], [two]], [[8, 5, 12], [7]])
    assert laid.tokens[..., 0].tolist() == [[1, 2, 3, 4, 5, 6, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0]]
    assert laid.mask.tolist() == [[True] * 6 + [False] * 2, [True] + [False] * 7]
    durations = laid.log_durations.exp() * laid.mask
    assert torch.allclose(durations, torch.tensor([[6.0, 2, 5, 3, 3, 6, 0, 0], [7.0, 0, 0, 0, 0, 0, 0, 0]]))
    assert laid.log_length.exp().tolist() == pytest.approx([25, 7])
    assert laid.piece.tolist() == [[0, 0, 1, 2, 2, 2, 0, 0], [0] * 8]
    assert laid.embedding.shape == (2, 4)
    assert laid.log_deviation == one.log_deviation


@pytest.mark.parametrize("n", range(1, 10))
def test_tokens_are_padded_to_a_few_sizes(n):
    laid = one_after_another([[part([1.0] * n, [1.0] * n)]], [[10]])
    assert laid.tokens.shape[1] == -(-n // TEXT_MULTIPLE) * TEXT_MULTIPLE
    assert laid.mask.sum() == n


def test_neither_padding_nor_neighbours_in_the_batch_move_what_is_laid_out(model, hearing):
    heard = [each.conditions["text"] for each in hearing([word("cab"), word("defg"), word("abcdefghijklm")])]
    frames, times = [[31, 23], [40]], torch.arange(60) + 0.5
    together = one_after_another([heard[:2], heard[2:]], frames)
    alone = one_after_another([heard[:2]], frames[:1])
    assert together.tokens.shape[1] > alone.tokens.shape[1]
    along = [model[0].aligner(each, torch.tensor([54, 40])[: len(each.mask)], times) for each in (together, alone)]
    assert torch.allclose(along[0][:1], along[1], atol=1e-5)


def test_one_part_is_laid_out_as_it_is_heard(model, hearing):
    (heard,) = hearing([word("cabbage")])
    own, n, times = heard.conditions["text"], torch.tensor([37]), torch.arange(37) + 0.5
    laid = one_after_another([[own]], [[37]])
    assert torch.allclose(model[0].aligner(laid, n, times), model[0].aligner(own, n, times), atol=1e-5)
    assert laid.log_length.exp().item() == pytest.approx(37, rel=1e-5)
