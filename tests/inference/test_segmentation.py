import string
from dataclasses import replace

import numpy as np
import pytest

from ms2sl.audio.loudness import frame_levels
from ms2sl.audio.speech import Speech
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.features.base import Features
from ms2sl.inference.segmentation import LONGEST_TEXT, MARGIN, PAUSE, segment, split_in_two
from ms2sl.text_normalization import normalise
from ms2sl.training.checkpoint import ModelCard
from tests.conftest import BYTES, LOG_MEL

RATE = 16_000


def card(**changes) -> ModelCard:
    """A model of letters, unless it is changed."""
    own = {"kind": "ms2sl", "model": {}, "skeleton": HOLISTIC_49X2, "text": BYTES, "speech": LOG_MEL, "fps": 12.5, "longest": 50}
    return ModelCard(**own | {"characters": string.ascii_lowercase} | changes)


LETTERS, SENTENCES = card(), card(text=Features(featurizer="clip", modality="text", dim=512))


def texts(text: str, model: ModelCard = SENTENCES) -> list[str]:
    return [piece.text for piece in segment(Utterance("u", text=text), model)]


def halves(text: str) -> list[str]:
    return [half.text for half in split_in_two(Utterance("u", text=text))]


def without_spaces(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_text_say_the_same_and_none_is_too_long(seed):
    rng = np.random.default_rng(seed)
    letters, marks = list("abcäßи語🙂𝒳é"), [" ", "  ", "\n", ", ", ". ", "! ", "; ", "。", "、", "e\u0301", "…"]
    text = "".join(rng.choice(letters if rng.random() < 0.8 else marks) for _ in range(rng.integers(1, 1500)))
    pieces = texts(text)
    assert without_spaces("".join(pieces)) == without_spaces(normalise(text))
    assert all(0 < len(piece) <= LONGEST_TEXT and piece == piece.strip() for piece in pieces)


def test_text_that_is_short_enough_is_left_whole():
    assert texts("One. Two, three! Four?") == ["One. Two, three! Four?"]
    assert len(texts("a " * (LONGEST_TEXT // 2))) == 1
    assert len(texts("ab" * (LONGEST_TEXT // 2) + "c")) == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("aa bb, cc dd. ee ff gg", ["aa bb, cc dd.", "ee ff gg"]),
        ("aa bb! cc, dd ee ff gg", ["aa bb!", "cc, dd ee ff gg"]),
        ("今天天气好。我们去公园玩，他也来", ["今天天气好。", "我们去公园玩，他也来"]),
        ("aa bb, cc dd ee ff", ["aa bb,", "cc dd ee ff"]),
        ("aaa bbbb cccccc", ["aaa bbbb", "cccccc"]),
        ("abcdefgh", ["abcd", "efgh"]),
        ("aa. bb. cc. dd.", ["aa. bb.", "cc. dd."]),
        ("a. bbbb cccc dddd", ["a. bbbb", "cccc dddd"]),
        ("aaaa bbbb cccc d. e", ["aaaa bbbb", "cccc d. e"]),
    ],
)
def test_text_is_halved_at_the_most_natural_place_near_its_middle(text, parts):
    assert halves(text) == parts


@pytest.mark.parametrize(
    "syllable",
    ["e\u0301", "a\u0323\u0302", "कि", "कु", "ที่", "קָ", "❤\ufe0f", "👨\u200d👩\u200d👧"],
    ids=["acute", "two", "spacing", "below", "Thai", "Hebrew", "emoji", "family"],
)
def test_a_mark_stays_with_what_it_marks(syllable):
    syllable = normalise(syllable)
    for n in range(LONGEST_TEXT // 2, LONGEST_TEXT * 2, 7):
        pieces = texts(syllable * n)
        assert "".join(pieces) == syllable * n
        assert {piece[0] for piece in pieces} == {syllable[0]}
        assert {piece[-1] for piece in pieces} == {syllable[-1]}


def test_characters_beyond_the_basic_plane_stay_whole():
    pieces = texts("𝒳🙂" * 200)
    assert len(pieces) > 1
    assert {*"".join(pieces)} == {"𝒳", "🙂"}
    assert "".join(pieces).encode("utf-8").decode("utf-8") == "𝒳🙂" * 200


def test_what_has_no_place_to_cut_is_left_whole():
    assert split_in_two(Utterance("u", text="a")) == ()
    assert texts("a" + "\u0301" * 300) == [normalise("a" + "\u0301" * 300)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hello, world - it's!", ["hello", "world", "it", "s"]),
        ("  one\ttwo\n", ["one", "two"]),
        ("«go» (now)", ["go", "now"]),
        ("one\u2028two\x85three\x0cfour", ["one", "two", "three", "four"]),
        ("one\u200btwo", ["one", "two"]),
        ("!?", [""]),
    ],
)
def test_a_model_of_letters_is_given_words(text, parts):
    assert texts(text, LETTERS) == parts


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("so naïve", "'naïve' has 'ï'"),
        ("route 66", "'66' has '6'"),
        ("yes, ok🙂", "'ok🙂' has '🙂'"),
        ("5€ please", "'5€' has '5', '€'"),
        ("c a+b", r"'a\+b' has '\+'"),
        ("e\u0301", "'é' has 'é'"),
        ("ok \U0001f6d8", "has '\\\\U0001f6d8'"),  # an emoji that is newer than this Python
        ("fine " * 100 + "день", "has 'д', 'е', 'н', 'ь'"),
    ],
)
def test_letters_digits_and_symbols_that_a_model_of_letters_never_met_are_refused_before_the_first_piece(text, unknown):
    with pytest.raises(InputError, match=f"u: .*{unknown} in it"):
        next(segment(Utterance("u", text=text), LETTERS))


@pytest.mark.parametrize("model", [LETTERS, SENTENCES])
@pytest.mark.parametrize("character", ["\udcfc", "\ue000", "\u0378", "\0"])
def test_what_is_no_text_is_refused_by_every_model_and_not_left_out(character, model):
    with pytest.raises(InputError, match=r"^u: the text has .* in it"):
        next(segment(Utterance("u", text=f"gr{character}e"), model))
    with pytest.raises(InputError, match=r"^u: the text has .* in it"):
        next(segment(Utterance("u", text=f"gr{character}e", speech=talk(1.0)), model))


def test_texts_are_normalised():
    assert texts(" u\u0308ber\n\nall ") == ["über all"]


def test_what_a_model_of_letters_can_read_does_not_part_words():
    assert texts("It's a cat, no?", card(characters=string.ascii_lowercase + " '")) == ["it's a cat", "no"]


@pytest.mark.parametrize("model", [LETTERS, SENTENCES])
@pytest.mark.parametrize("seconds", [None, 3.0])
@pytest.mark.parametrize("text", ["", " \n", "..."])
def test_empty_text_is_one_empty_piece_for_the_featurizer_to_refuse(text, seconds, model):
    pieces = list(segment(Utterance("u", text=text, seconds=seconds), model))
    assert [piece.text for piece in pieces] == ["..." if "." in text and model is SENTENCES else ""]


@pytest.mark.parametrize("model", [LETTERS, SENTENCES])
def test_seconds_are_shared_out_by_length_and_add_up(model):
    assert [piece.seconds for piece in segment(Utterance("u", text="aaa bbbbbb", seconds=9.0), LETTERS)] == pytest.approx([3, 6])
    text = "some words, then. " * 90
    pieces = list(segment(Utterance("u", text=text, seconds=77.7), model))
    assert len(pieces) > 10
    assert sum(piece.seconds for piece in pieces) == pytest.approx(77.7)
    pace = [piece.seconds / len(piece.text) for piece in pieces]
    assert pace == pytest.approx([77.7 / sum(len(piece.text) for piece in pieces)] * len(pieces), rel=0.05)
    assert {piece.id for piece in pieces} == {"u"}


def test_halves_share_the_seconds_or_have_none():
    one, other = split_in_two(Utterance("u", text="aaaa bb", seconds=6.0))
    assert (one.seconds, other.seconds) == pytest.approx((4, 2))
    assert [half.seconds for half in split_in_two(Utterance("u", text="aaaa bb"))] == [None, None]
    spoken = split_in_two(Utterance("u", speech=talk(4.0), seconds=2.0))
    assert sum(half.seconds for half in spoken) == pytest.approx(2)
    assert [half.seconds for half in spoken] == pytest.approx([half.speech.seconds / 2 for half in spoken])


def test_what_has_both_or_neither_is_left_whole():
    both = Utterance("u", text="some, words. " * 100, speech=talk(30.0, -2.0, 30.0), seconds=60.0)
    (whole,) = segment(both, LETTERS)
    assert (whole.text, whole.speech, whole.seconds) == (normalise(both.text), both.speech, 60.0)
    assert split_in_two(both) == ()
    neither = Utterance("u")
    assert list(segment(neither, LETTERS)) == [neither]


def talk(*parts: float, rate: int = RATE, noise: float = 0.0, seed: int = 0) -> Speech:
    """Seconds of sound, negative ones of silence; all samples of sound are louder than .1."""
    rng = np.random.default_rng(seed)
    sound = [rng.uniform(0.1, 0.3, round(abs(part) * rate)) * rng.choice([-1, 1], round(abs(part) * rate)) * (part > 0) for part in parts]
    waveform = np.concatenate(sound)
    return Speech((waveform + noise * rng.uniform(-1, 1, len(waveform))).astype(np.float32), rate)


def spoken(speech: Speech, longest: float = 1000.0, **asked) -> list[Utterance]:
    return list(segment(Utterance("u", speech=speech, **asked), card(longest=round(longest * 12.5))))


def loud(*speeches: Speech) -> np.ndarray:
    waveform = np.concatenate([speech.waveform for speech in speeches])
    return waveform[np.abs(waveform) > 0.05]


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100])
@pytest.mark.parametrize("noise", [0.0, 1e-3])
@pytest.mark.parametrize("seed", range(3))
def test_all_that_is_heard_is_in_one_piece_and_in_order(rate, noise, seed):
    rng = np.random.default_rng(seed)
    parts = [sign * seconds for seconds in rng.uniform(0.1, 3, 20) for sign in (1, -rng.uniform(0.05, 1.5))]
    speech = talk(*parts, rate=rate, noise=noise, seed=seed)
    pieces = [piece.speech for piece in spoken(speech, longest=4.0)]
    assert len(pieces) > 5
    assert {piece.rate for piece in pieces} == {rate}
    assert max(piece.seconds for piece in pieces) <= 4.0
    assert np.array_equal(loud(*pieces), loud(speech))


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("noise", [0.0, 3e-3, 8e-3])
@pytest.mark.parametrize("loudness", [1.0, 0.01])
def test_long_pauses_part_and_short_ones_do_not(rate, noise, loudness):
    speech = talk(-2.0, 1.0, -PAUSE - 0.1, 0.5, -PAUSE + 0.1, 0.5, -3.0, rate=rate, noise=noise)
    pieces = [piece.speech.seconds for piece in spoken(Speech(speech.waveform * loudness, rate))]
    assert pieces == pytest.approx([1 + 2 * MARGIN, 1 + PAUSE - 0.1 + 2 * MARGIN], abs=0.05)


@pytest.mark.parametrize("loudness", [1.0, 0.01])
def test_a_quiet_word_beside_loud_ones_is_heard(loudness):
    quiet = talk(0.5).waveform * 10 ** (-35 / 20)
    speech = Speech(np.concatenate([talk(3.0, -1.0).waveform, quiet, talk(-1.0, 3.0).waveform]) * loudness, RATE)
    assert [piece.speech.seconds for piece in spoken(speech)] == pytest.approx([3.06, 0.62, 3.06], abs=0.05)


def test_a_few_words_in_a_long_silence_are_found():
    pieces = [piece.speech.seconds for piece in spoken(talk(-10.0, 0.4, -15.0, 0.6, -10.0))]
    assert pieces == pytest.approx([0.4 + 2 * MARGIN, 0.6 + 2 * MARGIN], abs=0.05)


def test_in_noise_as_loud_as_speech_nothing_is_lost():
    speech = talk(1.0, -2.0, 1.0, noise=0.2)
    assert np.array_equal(np.concatenate([piece.speech.waveform for piece in spoken(speech, longest=2.0)]), speech.waveform)


def test_what_is_quiet_in_a_recording_stays_quiet_in_its_piece_at_any_level_of_the_whole():
    speech, breath = talk(3.0), talk(0.5)
    parts = [speech.waveform, np.zeros(RATE), 0.02 * breath.waveform, np.zeros(RATE), speech.waveform]
    whole = Speech(np.concatenate(parts).astype(np.float32), RATE)
    for gain in (1.0, 0.01):
        pieces = spoken(replace(whole, waveform=gain * whole.waveform))
        levels = [frame_levels(piece.speech.at_level(-17.0).waveform, RATE).max() for piece in pieces]
        assert levels == pytest.approx([-17, -51, -17], abs=1)
        halves = split_in_two(pieces[0])
        assert [half.speech.level for half in halves] == [pieces[0].speech.level] * 2


def test_talk_without_pauses_is_cut_to_the_longest_that_the_model_knows():
    speech = talk(31.3)
    pieces = spoken(speech, longest=4.0, seconds=20.0)
    assert all(0.5 < piece.speech.seconds <= 4.0 for piece in pieces)
    assert np.array_equal(np.concatenate([piece.speech.waveform for piece in pieces]), speech.waveform)
    assert sum(piece.seconds for piece in pieces) == pytest.approx(20)


@pytest.mark.parametrize("rate", [11025, 16000])
@pytest.mark.parametrize("at", [25.0, 30.0, 37.0])
def test_talk_is_cut_where_the_voice_rests(rate, at):
    first, second = spoken(talk(at, -0.1, 60 - at, rate=rate, noise=1e-3), longest=50.0)
    assert at < first.speech.seconds < at + 0.1
    assert first.speech.seconds + second.speech.seconds == pytest.approx(60.1)


@pytest.mark.parametrize("amplitude", [0.0, 1e-5])
def test_silence_is_refused(amplitude):
    with pytest.raises(InputError, match="u: nothing is heard"):
        spoken(talk(-3.0, noise=amplitude))
    assert len(spoken(talk(-3.0, noise=1e-3))) == 1


@pytest.mark.parametrize("seconds", [None, 2.0])
@pytest.mark.parametrize(
    "speech",
    [
        Speech(np.zeros(0, np.float32), RATE),
        Speech(np.zeros(100, np.float32), RATE),
        Speech(np.full(RATE, np.nan, np.float32), RATE),
        Speech(np.r_[np.inf, talk(1.0).waveform], RATE),
    ],
    ids=["empty", "short", "nan", "inf"],
)
def test_speech_that_cannot_be_heard_is_left_to_the_featurizer(speech, seconds):
    (piece,) = spoken(speech, seconds=seconds)
    assert piece.speech.waveform is speech.waveform
    assert piece.seconds == seconds
