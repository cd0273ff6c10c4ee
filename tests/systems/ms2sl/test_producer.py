import numpy as np
import pytest
import torch

from ms2sl.audio.speech import Speech
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.sampling_config import Sampling
from ms2sl.inference.segmentation import segment
from ms2sl.inference.sliding_window import Window, WindowedGenerator
from ms2sl.systems.ms2sl.producer import BATCH, MS2SLProducer
from ms2sl.systems.registry import load_producer
from tests.inference.test_sliding_window import sign_all


@pytest.fixture(scope="module")
def producer(tiny_checkpoint) -> MS2SLProducer:
    return MS2SLProducer.load(tiny_checkpoint, options=Sampling(steps=4))


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
    assert set(np.unique(poses.confidence)) <= {0, 1}
    assert not poses.joints[poses.confidence == 0].any()


def test_case_and_spaces_around_do_not_matter(producer):
    assert same(producer.produce(words(" CaB "), seed=0)[0], producer.produce(words("cab"), seed=0)[0])


@pytest.mark.parametrize(
    ("utterance", "reason"),
    [
        (Utterance("u", text=""), "the text is empty"),
        (Utterance("u", text="", seconds=2.0), "the text is empty"),
        (Utterance("u", text="?! ", seconds=2.0), "the text is empty"),
        (Utterance("u", text="naïve"), "learned only"),
        (Utterance("u", text="cab " * 50 + "7🙂"), "has '7', '🙂' in it; the model learned only"),
        (Utterance("u"), "neither text nor speech"),
        (Utterance("u", text="cab", seconds=-1), "impossible"),
        (Utterance("u", text="cab", seconds=float("nan")), "impossible"),
        (Utterance("u", text="cab", seconds=1e9), "impossible"),
        (Utterance("u", speech=Speech(np.zeros(10, np.float32), 16000)), "record at least one word"),
        (Utterance("u", speech=Speech(np.zeros(0, np.float32), 16000), seconds=2.0), "record at least one word"),
        (Utterance("u", speech=Speech(np.zeros(16000, np.float32), 16000)), "nothing is heard"),
        (Utterance("u", speech=Speech(np.ones(16000, np.float32), 0)), "0 samples a second is impossible"),
        (Utterance("u", speech=Speech(np.full(16000, np.nan, np.float32), 16000)), "NaN"),
    ],
)
def test_what_cannot_be_said_is_explained(producer, utterance, reason):
    with pytest.raises(InputError, match=f"u: .*{reason}"):
        producer.produce([utterance], seed=0)


def test_no_steps_are_too_few(tiny_checkpoint):
    with pytest.raises(InputError, match=r"ms2sl: steps: .* greater than 0 \(got 0\)"):
        load_producer(tiny_checkpoint, options={"steps": 0})


def test_the_sampler_is_another_way_to_the_pose_where_there_are_steps_enough_to_look_back(tiny_checkpoint):
    producer = MS2SLProducer.load(tiny_checkpoint)
    made = {
        (steps, sampler): producer.produce(words("cab"), Sampling(steps=steps, sampler=sampler), seed=0)[0]
        for steps in (2, 8)
        for sampler in ("ddim", "dpm++")
    }
    assert same(made[2, "ddim"], made[2, "dpm++"])
    assert not same(made[8, "ddim"], made[8, "dpm++"])


def test_a_sampler_that_is_not_there_is_refused(tiny_checkpoint):
    with pytest.raises(InputError, match=r"ms2sl: sampler: .* 'ddim' or 'dpm\+\+' \(got 'euler'\)"):
        load_producer(tiny_checkpoint, options={"sampler": "euler"})


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


LONG = Utterance("long", text="deaf cab, bead. " * 12)


def long_speech(corpus) -> Utterance:
    """Some recordings, with pauses between them."""
    spoken = [clip.speech for clip in map(corpus.clip, range(40)) if clip.speech is not None][:6]
    return Utterance(
        "speech", speech=Speech(np.concatenate([np.r_[one.waveform, np.zeros(one.rate, np.float32)] for one in spoken]), spoken[0].rate)
    )


def test_what_fits_is_signed_as_the_model_alone_would(producer):
    (made,), (heard,) = producer.produce(words("abcdefgh"), seed=3), producer.hearing(words("abcdefgh"))
    n = round(heard.frames)
    assert 4 < n <= producer.card.longest
    window = Window(tuple(words("abcdefgh")), (n,), 0, n, None, np.zeros(0, np.float32), 3)
    white = torch.nn.functional.pad(producer._noise(window, [heard]), (0, 0, 0, -n % 4))[None]
    padded = producer.model.noise(white)
    features = producer.model.generate(list(heard.conditions.values()), torch.tensor([n]), padded, producer.options.steps)
    alone, seen = (each[0, :n].numpy() for each in producer.model.decode(features))
    assert made.n_frames == n
    assert np.array_equal(made.confidence > 0, seen)
    assert np.allclose(made.joints, alone * seen[..., None], atol=1e-4)


def test_long_text_and_speech_take_as_long_as_their_pieces(producer, corpus):
    for utterance, error in ((LONG, 0), (long_speech(corpus), 0.05)):  # of speech, pieces may be halved
        pieces = list(segment(utterance, producer.card))
        (poses,) = producer.produce([utterance], seed=0)
        assert len(pieces) > 3
        assert poses.n_frames > 2 * producer.card.longest
        assert poses.n_frames == pytest.approx(round(sum(producer.measure(pieces))), rel=error, abs=0)
        assert np.isfinite(poses.joints).all()
        assert not poses.confidence[:, ~producer.model.space.seen.numpy()].any()


def frames_made(producer, text: str, *seconds: float) -> list[int]:
    def still(windows):
        return [Poses(np.zeros((window.frames, 1, 1), np.float32), np.zeros((window.frames, 1), np.float32), 12.5) for window in windows]

    signings = [WindowedGenerator.of(Utterance("u", text=text, seconds=each), producer.card, seed=0) for each in seconds]
    return [poses.n_frames for poses in sign_all(signings, producer.measure, still)]


@pytest.mark.parametrize("text", ["cab", "cabbage deaf", LONG.text, "a b c d e f g h i j k l"], ids=["word", "two", "long", "letters"])
def test_any_text_takes_the_seconds_asked_for_to_a_frame(producer, text):
    assert frames_made(producer, text, 20.1, 33.3, 57.7) == [251, 416, 721]
    assert producer.produce([Utterance("u", text=text, seconds=20.1)], seed=0)[0].n_frames == 251


@pytest.mark.parametrize("text", ["cab", LONG.text, "deaf cab bead a fed cage bee"], ids=["word", "long", "seven"])
def test_half_a_frame_is_rounded_as_for_one_piece(producer, text):
    seconds = range(21, 70, 2)
    assert frames_made(producer, text, *seconds) == [round(each * 12.5) for each in seconds]


def test_many_short_words_are_signed_in_the_little_time_asked_for(producer):
    assert frames_made(producer, "a b c d e f g h i j k l", 1.0, 2.6, 3.8) == [12, 32, 48]
    assert producer.produce([Utterance("u", text="a b c d e f g h i j k l", seconds=1.0)], seed=0)[0].n_frames == 12


@pytest.mark.parametrize("text", ["cab", "a b c d e f g h i j k l"])
def test_no_signing_is_shorter_than_four_frames(producer, text):
    assert frames_made(producer, text, 0.001, 0.3, 0.4) == [4, 4, 5]
    assert producer.produce([Utterance("u", text=text, seconds=0.001)], seed=0)[0].n_frames == 4


def test_long_signing_is_the_same_alone_and_beside_others(producer, corpus):
    long = [LONG, long_speech(corpus), Utterance("other", text="bad cafe " * 20, seconds=11.2)]
    together = producer.produce([*words("cab"), *long, *words("fed")], seed=7)
    for utterance, poses in zip(long, together[1:-1], strict=True):
        alone = producer.produce([utterance], seed=7)[0]
        assert alone.n_frames > 2 * producer.card.longest
        assert same(poses, alone)
    assert not same(producer.produce([LONG], seed=8)[0], together[1])


def test_a_window_goes_on_from_the_frames_before_it(producer, monkeypatch):
    made, sample = [], producer.sample
    monkeypatch.setattr(producer, "sample", lambda windows, sampling: made.append((windows, sample(windows, sampling))) or made[-1][1])
    producer.produce([LONG, *words("cab"), Utterance("other", text="bad cafe " * 20)], seed=0)
    later = [
        (window, poses) for windows, all_poses in made for window, poses in zip(windows, all_poses, strict=True) if window.known is not None
    ]
    assert len(later) > 5
    for window, poses in later:
        kept = np.flatnonzero(window.weight == 1)
        assert len(kept) == 8
        assert np.array_equal(poses.confidence[kept], window.known.confidence[kept])
        assert np.allclose(poses.joints[kept], window.known.joints[kept], atol=1e-4)
        assert not np.allclose(poses.joints[len(window.weight) - 1], window.known.joints[-1], atol=1e-3)


def test_the_model_is_told_which_part_of_the_whole_each_window_is(producer):
    known = Poses(np.ones((3, 49, 2), np.float32), np.ones((3, 49), np.float32), 12.5)
    weight = np.array([1, 1, 0.5], np.float32)
    one = Window(tuple(words("cab")), (20,), 0, 20, None, np.zeros(0, np.float32), 0)
    other = Window(tuple(words("cab", "deaf")), (30, 25), 11, 40, known, weight, 0)
    part = producer._part([one, other], 44)
    assert part.first.tolist() == [0, 11]
    assert part.lengths.tolist() == [[20, 0], [30, 25]]
    assert part.weight.sum(dim=1).tolist() == [0, 2.5]
    assert (part.known[1, :3] == 1).all()
    assert part.seen.sum(dim=(1, 2)).tolist() == [0, 3 * 49]


def test_a_frame_has_the_same_noise_in_all_windows(producer):
    signing = WindowedGenerator(words("cab", "deaf", "bead"), 40, 12.5, seed=5)
    found: dict[int, torch.Tensor] = {}
    finished, again = 0, 0
    while not signing.ended:
        while asked := signing.pending_lengths():
            signing.set_lengths([25.0] * len(asked))
        window = signing.window()
        begin = ["cab", "deaf", "bead"].index(window.pieces[0].text) * 25 + window.first
        white = producer._noise(window, producer.hearing(window.pieces))
        assert len(white) == producer.model.overhang + window.frames
        for frame, noise in enumerate(white[producer.model.overhang :], begin):
            again += frame in found
            assert torch.equal(found.setdefault(frame, noise), noise)
        empty = np.zeros((window.frames, 49, 2), np.float32)
        finished += signing.commit(Poses(empty, empty[..., 0], 12.5)).n_frames
    assert finished == len(found) == len({tuple(noise.tolist()) for noise in found.values()}) == 75
    assert again >= 20
