"""A model is imitated that signs each character in ``pace`` frames, and whose poses tell which frame they are, and in which window it was
made. All characters of what is signed differ, so a piece tells where it stands."""

import weakref
from collections.abc import Iterator, Sequence
from itertools import accumulate, count, pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from ms2sl.data.types import Poses, Utterance
from ms2sl.inference.producer import NoOptions, run_to_end
from ms2sl.inference.sliding_window import ASKED, BEFORE, BLEND, Window, WindowedGenerator
from ms2sl.inference.windowed_session import WindowedSession, measure_pieces, step_windows

FIRST = 0x4E00


class Said(str):
    """Text that can be watched as it is forgotten."""


def sign_all(generators, measure, sample):
    """All of them side by side, as a producer goes through its sessions."""
    producer = SimpleNamespace(
        step=lambda requests: step_windows(requests, measure, lambda windows, options: sample(windows)),
        prepare=lambda requests: measure_pieces(requests, measure),
    )
    return run_to_end(producer, [WindowedSession(generator, NoOptions()) for generator in generators])


class Imitation:
    def __init__(self, pace: float, fps: float = 12.5):
        self.pace, self.fps = pace, fps
        self.asked: list[Utterance] = []
        self.windows: list[Window] = []
        self.batches: list[int] = []

    def place(self, characters: int) -> int:
        """The frame at which so many characters are said."""
        return round(characters * self.pace)

    def measure(self, pieces: Sequence[Utterance]) -> list[float]:
        self.asked += pieces
        return [len(piece.text) * self.pace for piece in pieces]

    def sample(self, windows: Sequence[Window]) -> list[Poses]:
        self.batches.append(len(windows))
        return [self.poses(window) for window in windows]

    def poses(self, window: Window) -> Poses:
        frames = np.arange(window.frames) + self.begins(window)
        joints = np.stack([frames, np.full(window.frames, len(self.windows))], axis=1)[:, None].astype(np.float32)
        self.windows.append(window)
        return Poses(joints, np.ones((window.frames, 1), np.float32), self.fps)

    def forget(self) -> None:
        self.asked.clear()
        self.windows.clear()

    def begins(self, window: Window) -> int:
        return self.place(ord(window.pieces[0].text[0]) - FIRST) + window.first


def pieces(*sizes: int) -> Iterator[Utterance]:
    for begin, end in pairwise(accumulate(sizes, initial=FIRST)):
        yield Utterance("u", text=Said("".join(map(chr, range(begin, end)))))


def signed(model: Imitation, sizes: Sequence[int], size: int, seed: int = 0) -> Poses:
    return sign_all([WindowedGenerator(pieces(*sizes), size, model.fps, seed)], model.measure, model.sample)[0]


def measured(signing: WindowedGenerator, model: Imitation) -> WindowedGenerator:
    """Ready for its next window."""
    while asked := signing.pending_lengths():
        assert len(asked) <= ASKED
        signing.set_lengths(model.measure(asked))
    return signing


def frames(poses: Poses) -> list[int]:
    return poses.joints[:, 0, 0].astype(int).tolist()


def lengths(rng: np.random.Generator, most: int, longest: int) -> list[int]:
    return rng.integers(1, rng.integers(2, longest), rng.integers(1, most)).tolist()


@pytest.mark.parametrize("seed", range(60))
def test_every_frame_comes_once_and_in_order_whatever_the_lengths(seed):
    rng = np.random.default_rng(seed)
    fps, pace, size = float(rng.choice([1, 6, 12.5, 25, 30])), float(rng.integers(1, 40)) / 8, int(rng.integers(1, 150))
    model, sizes = Imitation(pace if seed % 6 else 200.25, fps), lengths(rng, most=60, longest=40)
    poses = signed(model, sizes, size)
    assert frames(poses) == list(range(model.place(sum(sizes))))
    assert len(poses.confidence) == poses.n_frames
    assert poses.fps == fps


@pytest.mark.parametrize("seed", range(20))
def test_a_window_holds_what_it_touches_and_is_no_longer_than_its_size(seed):
    rng = np.random.default_rng(seed)
    model, sizes, size = (
        Imitation(float(rng.integers(1, 60)) / 8 if seed % 4 else 0.125),
        lengths(rng, most=60, longest=40),
        int(rng.integers(40, 150)),
    )
    signed(model, sizes, size)
    end = model.place(sum(sizes))
    for window in model.windows:
        assert 0 <= window.first < window.lengths[0]
        assert sum(window.lengths[:-1]) < window.first + window.frames <= sum(window.lengths)
        assert window.frames == min(size, end - model.begins(window))
        assert len(window.lengths) == len(window.pieces)
        assert min(window.lengths) > 0


@pytest.mark.parametrize("pace", [0.3, 1.7, 2.49, 1 / 3])
def test_rounded_lengths_add_up_to_the_rounded_sum(pace):
    model = Imitation(pace)
    signing = WindowedGenerator(pieces(*[3] * 100), 1000, 12.5, 0)
    window = measured(signing, model).window()
    assert sum(window.lengths) == round(300 * pace)
    assert all(abs(n - 3 * pace) <= 1 for n in window.lengths)


@pytest.mark.parametrize("fps", [12.5, 25.0])
def test_a_window_is_given_the_frames_before_it_and_departs_from_them_little_by_little(fps):
    model, before, blend = Imitation(2.5, fps), round(BEFORE * fps), round(BLEND * fps)
    signed(model, [9] * 40, 100)
    assert len(model.windows) > 5
    assert model.windows[0].known is None
    assert not len(model.windows[0].weight)
    for number, window in enumerate(model.windows[1:], 1):
        known, weight = window.known.joints[:, 0], window.weight
        assert len(known) == len(weight) == before + blend
        assert known[:, 0].tolist() == [model.begins(window) + i for i in range(before + blend)]
        assert (known[:, 1] == number - 1).all()
        assert (weight[:before] == 1).all()
        assert np.diff(weight[before - 1 :]) == pytest.approx(-1 / (blend + 1), abs=1e-6)
        assert weight[-1] == pytest.approx(1 / (blend + 1), abs=1e-6)


def test_what_a_window_made_without_knowing_what_follows_is_made_again():
    model, blend = Imitation(2.5), round(BLEND * 12.5)
    poses = signed(model, [9] * 40, 100)
    made_in = poses.joints[:, 0, 1].astype(int)
    ends = [model.begins(window) + window.frames - blend for window in model.windows[:-1]]
    assert np.flatnonzero(np.diff(made_in)).tolist() == [end - 1 for end in ends]


@pytest.mark.parametrize("size", [1, 39, 40, 41])
def test_a_window_has_room_for_more_than_what_is_known(size):
    model = Imitation(2.0)
    signed(model, [5] * 50, size)
    assert {window.frames for window in model.windows[:-1]} == {max(size, 40)}
    assert len(model.windows) <= -(-500 // 20)


def test_signing_that_fits_is_one_window():
    model = Imitation(1.0)
    signed(model, [20, 30, 50], 100)
    assert [(window.first, window.frames, window.lengths) for window in model.windows] == [(0, 100, (20, 30, 50))]
    signed(longer := Imitation(1.0), [20, 30, 51], 100)
    assert len(longer.windows) == 2


def test_a_piece_that_takes_longer_than_a_window_is_halved_and_the_others_stay_in_order():
    model = Imitation(4.0)
    poses = signed(model, [10, 60, 5, 200, 3], 100)
    assert frames(poses) == list(range(278 * 4))
    said = {piece.text: n for window in model.windows for piece, n in zip(window.pieces, window.lengths, strict=True)}
    assert "".join(said) == "".join(piece.text for piece in pieces(278))
    assert max(said.values()) <= 100
    assert {10, 5, 3} < {len(text) for text in said}


def test_a_piece_that_cannot_be_halved_goes_through_several_windows():
    model = Imitation(333.5)
    assert frames(signed(model, [1, 1], 50)) == list(range(667))
    assert {len(window.pieces) for window in model.windows} == {1, 2}


def test_signing_without_end_goes_on_and_forgets_what_it_finished():
    taken, watched = count(), []

    def endless() -> Iterator[Utterance]:
        for begin in count(FIRST, 4):
            next(taken)
            text = Said("".join(map(chr, range(begin, begin + 4))))
            watched.append(weakref.ref(text))
            yield Utterance("u", text=text)

    model, signing, finished = Imitation(2.5), WindowedGenerator(endless(), 50, 12.5, 0), 0
    while finished < 10_000:
        part = signing.commit(model.poses(measured(signing, model).window()))
        assert frames(part) == list(range(finished, finished + part.n_frames))
        finished += part.n_frames
        model.forget()
        assert len(watched) * 10 <= finished + 2 * 50 + ASKED * 10
        assert sum(text() is not None for text in watched) * 10 <= 2 * 50 + 2 * ASKED * 10


@pytest.mark.parametrize(("sizes", "windows"), [([100], 1), ([50, 50], 1), ([60, 41], 2), ([300], 4)])
def test_the_end_is_known_as_soon_as_the_last_window_is_made(sizes, windows):
    model, signing, ended = Imitation(1.0), WindowedGenerator(pieces(*sizes), 100, 12.5, 0), []
    while (window := measured(signing, model).window()) is not None:
        signing.commit(model.poses(window))
        ended.append(signing.ended)
    assert ended == [False] * (len(ended) - 1) + [True]
    assert len(ended) == windows


def test_nothing_is_asked_before_it_is_needed():
    taken = []
    signing = WindowedGenerator((taken.append(piece) or piece for piece in pieces(*[20] * 100)), 100, 12.5, 0)
    assert not taken
    signing.pending_lengths()
    assert signing.pending_lengths() == taken
    assert len(taken) == ASKED


def test_signings_go_side_by_side_as_each_would_alone():
    rng = np.random.default_rng(0)
    everyone = [lengths(rng, most=60, longest=40) for _ in range(7)]
    model = Imitation(1.75)
    together = sign_all([WindowedGenerator(pieces(*sizes), 60, 12.5, 0) for sizes in everyone], model.measure, model.sample)
    alone = [Imitation(1.75) for _ in everyone]
    for poses, own, sizes in zip(together, alone, everyone, strict=True):
        assert frames(poses) == frames(signed(own, sizes, 60))
    windows = [len(own.windows) for own in alone]
    assert len({*windows}) > 3
    assert [n for n in model.batches if n] == [sum(n > i for n in windows) for i in range(max(windows))]


def test_windows_know_the_seed_and_what_they_are_of():
    model = Imitation(2.0)
    sign_all([WindowedGenerator(pieces(70), 60, 12.5, seed) for seed in (5, 6)], model.measure, model.sample)
    assert [window.seed for window in model.windows[:2]] == [5, 6]


def test_no_signings_make_nothing():
    model = Imitation(1.0)
    assert sign_all([], model.measure, model.sample) == []
