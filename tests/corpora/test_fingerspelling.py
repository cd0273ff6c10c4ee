import numpy as np
import pytest
from pydantic import ValidationError

from ms2sl.corpora.fingerspelling import Fingerspelling, FingerspellingConfig
from ms2sl.corpora.letters import alphabet, index
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.errors import InputError

LANGUAGES = sorted({row["signed_language"] for row in index()})
WRIST = HOLISTIC_49X2.index("body/RIGHT_WRIST")
HAND = HOLISTIC_49X2.part("right_hand")


def make(**options) -> Fingerspelling:
    return Fingerspelling(FingerspellingConfig(**{"train": 60, "dev": 10, "test": 10} | options))


def texts(corpus, split) -> list[str]:
    return corpus._texts[corpus.splits[split].start : corpus.splits[split].stop]


def equal(a, b) -> bool:
    return (
        (a.id, a.text) == (b.id, b.text)
        and np.array_equal(a.poses.joints, b.poses.joints)
        and (a.speech is b.speech is None or np.array_equal(a.speech.waveform, b.speech.waveform))
    )


def test_a_clip_is_the_same_in_any_order_and_any_process():
    forward, backward = make(), make()
    one = [forward.clip(i) for i in range(12)]
    other = [backward.clip(i) for i in reversed(range(12))][::-1]
    assert all(equal(a, b) for a, b in zip(one, other, strict=True))
    assert not equal(one[0], make(seed=1).clip(0))


def test_no_letter_sequence_is_in_two_splits_or_twice_in_one():
    corpus = make(train=2000, long=50)
    everything = [text for split in corpus.splits for text in texts(corpus, split)]
    assert len(everything) == len(set(everything)) == 2070
    assert {len(text) for text in texts(corpus, "train")} == {3, 4, 5}
    assert {len(text) for text in texts(corpus, "long")} <= {6, 7, 8}


def test_more_training_data_leaves_the_test_set_as_it_is():
    small, large = make(), make(train=500)
    assert texts(small, "test") == texts(large, "test")
    assert equal(small.clip(0), large.clip(0))


def test_words_and_codes_cover_every_letter():
    corpus = make(train=1000)
    assert {letter for text in texts(corpus, "train") for letter in text} == set("abcdefghijklmnopqrstuvwxyz")
    words = set(corpus._words())
    assert 50 < sum(text in words for text in texts(corpus, "train")) < 150


def test_training_clips_lack_a_modality_as_often_as_asked_and_others_never():
    corpus = make(train=600, missing_speech=0.5, missing_text=0.2)
    clips = [corpus.clip(i) for i in corpus.splits["train"]]
    assert np.mean([clip.speech is None for clip in clips]) == pytest.approx(0.5, abs=0.06)
    assert np.mean([clip.text is None for clip in clips]) == pytest.approx(0.2, abs=0.06)
    assert not any(clip.speech is None and clip.text is None for clip in clips)
    for i in corpus.splits["test"]:
        assert corpus.clip(i).speech is not None
        assert corpus.clip(i).text is not None


def test_the_same_clip_with_more_or_less_missing_is_signed_the_same():
    full, mute = make(missing_speech=0.0), make(missing_speech=0.9)
    i = full.splits["train"].start
    assert np.array_equal(full.clip(i).poses.joints, mute.clip(i).poses.joints)


def spelled(text: str):
    corpus = make()
    corpus._texts[0] = text
    return HOLISTIC_49X2.normalise(corpus.clip(0).poses)


@pytest.mark.parametrize("letter", ["a", "l", "v", "w"])
def test_a_doubled_letter_can_be_counted(letter):
    """The hand goes aside with a dip between the two, and nothing of the kind happens in a single one."""

    def aside_and_dip(text):
        wrist = spelled(text).joints[:, WRIST]
        return wrist[0, 0] - wrist[:, 0].min(), wrist[:, 1].max() - wrist[0, 1]

    for repeats in (1, 2, 3):
        aside, dip = aside_and_dip(letter * repeats)
        assert aside == pytest.approx(0.25 * (repeats - 1), abs=0.04)
        assert dip == pytest.approx(0.15 if repeats > 1 else 0, abs=0.05)


def test_j_and_z_move_and_other_letters_hold():
    letters = alphabet("ase")
    assert [name for name, letter in letters.items() if letter.moves] == ["j", "z"]


def test_no_joint_jumps():
    corpus = make()
    for i in range(30):
        joints = HOLISTIC_49X2.normalise(corpus.clip(i).poses).joints
        assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 0.75  # shoulder widths in 80 ms


def test_every_letter_looks_like_itself_and_no_other():
    """The held handshape of each letter is nearest to its own recording."""
    letters = {name: letter for name, letter in alphabet("ase").items() if not letter.moves}

    def shape(joints):
        hand = joints[:, HAND].mean(axis=0)
        return hand - hand[0]

    recorded = {name: shape(letter.poses.joints) for name, letter in letters.items()}
    for name in letters:
        held = shape(spelled(name).joints)
        assert min(recorded, key=lambda other: np.linalg.norm(recorded[other] - held)) == name


def test_the_hand_that_a_language_does_not_use_stays_unseen():
    clip = make().clip(0)
    assert (clip.poses.confidence[:, HOLISTIC_49X2.part("left_hand")] == 0).all()
    assert (clip.poses.confidence[:, HOLISTIC_49X2.index("body/LEFT_WRIST")] == 0).all()


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_twenty_alphabets_can_be_spelled(language):
    corpus = make(signed_language=language, train=8, dev=2, test=2)
    for i in range(len(corpus)):
        clip = corpus.clip(i)
        corpus.skeleton.check(clip.poses)
        assert clip.poses.n_frames >= 8
        assert clip.speech is None or clip.speech.seconds > 0.3


def test_an_unknown_language_lists_those_there_are():
    with pytest.raises(InputError, match=r"no manual alphabet of 'xyz'; there are: ase, asq"):
        make(signed_language="xyz")


def test_impossible_options_are_explained():
    with pytest.raises(InputError, match="only 26 sequences of 1 to 1 letters"):
        make(min_letters=1, max_letters=1, train=200)
    with pytest.raises(ValidationError, match="some clips would have neither"):
        FingerspellingConfig(missing_speech=0.7, missing_text=0.5)
    with pytest.raises(ValidationError, match="max_letters is below"):
        FingerspellingConfig(min_letters=5, max_letters=3)


def test_speech_takes_longer_the_slower_the_signing():
    corpus = make(train=200, missing_speech=0)
    clips = [corpus.clip(i) for i in corpus.splits["train"]]
    lengths = np.array([(clip.poses.seconds, clip.speech.seconds) for clip in clips])
    assert np.corrcoef(lengths.T)[0, 1] > 0.6
