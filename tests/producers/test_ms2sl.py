import numpy as np
import pytest

from ms2sl.clip import Speech, Utterance
from ms2sl.errors import InputError
from ms2sl.producers.ms2sl import BATCH, MS2SLProducer


@pytest.fixture(scope="module")
def producer(tiny_checkpoint) -> MS2SLProducer:
    return MS2SLProducer.load(tiny_checkpoint, steps=4)


def words(*texts: str) -> list[Utterance]:
    return [Utterance(text, text=text) for text in texts]


def same(a, b) -> bool:
    return a.joints.shape == b.joints.shape and np.allclose(a.joints, b.joints, atol=1e-4)


def test_the_same_seed_gives_the_same_poses_in_whatever_batch(producer):
    alone = producer.produce(words("cab"), seed=7)[0]
    together = producer.produce(words("deaf", "cab", "abcdefghijklm", "bead"), seed=7)
    assert same(together[1], alone)
    assert same(producer.produce(words("bead", "cab"), seed=7)[1], alone)


def test_another_seed_and_another_word_give_other_poses(producer):
    long = [Utterance(text, text=text, seconds=2) for text in ("cab", "bad")]
    one, two = producer.produce(long, seed=7)
    assert not same(one, two)
    assert not same(producer.produce(long, seed=8)[0], one)


def test_speech_and_text_go_together_in_one_call_in_order(producer, corpus):
    clip = corpus.clip(0)
    mixed = producer.produce([clip.utterance("speech"), clip.utterance("text"), clip.utterance("speech")], seed=0)
    assert same(mixed[0], mixed[2])
    assert same(mixed[1], producer.produce([clip.utterance("text")], seed=0)[0])


def test_both_is_neither_text_nor_speech_alone(producer, corpus):
    clip = corpus.clip(0)
    text, speech, both = (producer.produce([clip.utterance(modality)], seed=0)[0] for modality in ("text", "speech", "both"))
    assert not same(both, text)
    assert not same(both, speech)
    assert min(text.n_frames, speech.n_frames) <= both.n_frames <= max(text.n_frames, speech.n_frames)


def test_the_length_asked_for_is_the_length_made(producer):
    assert producer.produce([Utterance("x", text="cab", seconds=3.2)], seed=0)[0].n_frames == 40


def test_joints_that_training_never_saw_are_marked_unseen(producer):
    poses = producer.produce(words("cab"), seed=0)[0]
    left = producer.skeleton.part("left_hand")
    assert (poses.confidence[:, left] == 0).all()
    assert (poses.confidence[:, producer.skeleton.part("right_hand")] == 1).all()


def test_case_and_spaces_around_do_not_matter(producer):
    assert same(producer.produce(words(" CaB "), seed=0)[0], producer.produce(words("cab"), seed=0)[0])


@pytest.mark.parametrize(
    ("utterance", "reason"),
    [
        (Utterance("u", text=""), "the text is empty"),
        (Utterance("u", text="naïve"), "learned only"),
        (Utterance("u"), "neither text nor speech"),
        (Utterance("u", text="cab", seconds=-1), "impossible"),
        (Utterance("u", text="cab", seconds=float("nan")), "impossible"),
        (Utterance("u", text="cab", seconds=1e9), "impossible"),
        (Utterance("u", speech=Speech(np.zeros(10, np.float32), 16000)), "record at least one word"),
        (Utterance("u", speech=Speech(np.full(16000, np.nan, np.float32), 16000)), "NaN"),
    ],
)
def test_what_cannot_be_said_is_explained(producer, utterance, reason):
    with pytest.raises(InputError, match=f"u: .*{reason}"):
        producer.produce([utterance], seed=0)


def test_no_steps_are_too_few(tiny_checkpoint):
    with pytest.raises(InputError, match="0 sampling steps"):
        MS2SLProducer.load(tiny_checkpoint, steps=0)


def test_the_sampler_is_another_way_to_the_pose_where_there_are_steps_enough_to_look_back(tiny_checkpoint):
    made = {
        (steps, sampler): MS2SLProducer.load(tiny_checkpoint, steps=steps, sampler=sampler).produce(words("cab"), seed=0)[0]
        for steps in (2, 8)
        for sampler in ("ddim", "dpm++")
    }
    assert same(made[2, "ddim"], made[2, "dpm++"])
    assert not same(made[8, "ddim"], made[8, "dpm++"])


def test_a_sampler_that_is_not_there_is_refused(tiny_checkpoint):
    with pytest.raises(InputError, match=r"no sampler 'euler'; there are: ddim, dpm\+\+"):
        MS2SLProducer.load(tiny_checkpoint, sampler="euler")


def test_nothing_makes_nothing(producer):
    assert producer.produce([], seed=0) == []


def test_more_utterances_than_a_batch_holds_come_back_in_their_order(producer):
    texts = ["abc"[i % 3] * (i % 5 + 1) + "fgh"[i % 2 :] for i in range(BATCH + 8)]
    made = producer.produce(words(*texts), seed=1)
    again = producer.produce(words(*texts[::-1]), seed=1)[::-1]
    assert all(same(a, b) for a, b in zip(made, again, strict=True))
    assert same(made[-1], producer.produce(words(texts[-1]), seed=1)[0])


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_any_whole_number_is_a_seed(producer, seed):
    assert same(*(producer.produce(words("cab"), seed=seed)[0] for _ in range(2)))
