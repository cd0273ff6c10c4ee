"""One person followed through time: detectors list the people of each frame in any order, and miss some of them."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

REACH = 0.75  # shoulder widths, and the logarithm of a ratio of sizes: nobody moves or grows so much from one detection to the next
CALM = 0.25  # shoulder widths, the mean over the joints of a body
FEWER = 0.5  # of that reach, for a detection that lacks all of the joints by which the person was known
RECENT = 25  # frames by whose median width of the shoulders distances are measured, and for which a track waits at most
PATIENCE = 5  # frames that a track waits for each detection that it has
LASTING = 5  # detections of a track that may be continued by another, where several people are seen at once
ALIKE = 0.2  # the logarithm of the ratio of two widths of shoulders of one person
AWAY = 1.5  # shoulder widths
BRIEF = 25  # frames
LATEST = 20  # tracks that one out of reach of them may continue
PRESENT = 1 / 3  # of the frames of whoever is seen most: who is seen in fewer passes by
STILL, LIVELY = 0.15, 0.3  # shoulder widths by which joints move about: who moves counts up to three times as much as who does not


@dataclass
class Track:
    """A person without a long break: each joint as first and last seen ``(joints, 2)``, and which detection it is in each frame."""

    first: np.ndarray
    last: np.ndarray
    seen: np.ndarray
    frames: dict[int, int] = field(default_factory=dict)
    widths: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, frame: int, person: int, joints: np.ndarray, confidence: np.ndarray, shoulders: tuple[int, int]) -> None:
        seen = confidence > 0
        self.frames[frame] = person
        self.first[seen & ~self.seen] = joints[seen & ~self.seen]
        self.last[seen] = joints[seen]
        self.seen |= seen
        left, right = shoulders
        width = float(np.hypot(*(joints[left] - joints[right]))) if seen[left] and seen[right] else 0.0
        self.widths += [width] if width else []
        self.weights.append(width * float(confidence.sum()))

    def waits(self, frame: int) -> bool:
        return frame - next(reversed(self.frames)) <= min(RECENT, PATIENCE * len(self.frames))

    def unit(self) -> float:
        return statistics.median(self.widths[-RECENT:]) if self.widths else 0.0


def follow(joints: np.ndarray, confidence: np.ndarray, body: slice, shoulders: tuple[int, int]) -> np.ndarray:
    """Which of the people of each frame the signer is, int ``(frames,)``; -1 where the signer was not detected.

    joints: ``(frames, people, joints, dims)``; confidence: ``(frames, people, joints)``, 0 is unseen. body: the joints by which people are
    told apart, shoulders: two of them. A detection belongs to the track that was nearest in place and size when last seen, or to a new
    one. Tracks are one person if they are never seen in the same frame and end and begin at the same place in the same size; elsewhere,
    if they are as wide and one follows the other.

    Where never two people are seen at once, there may still be two, of whom the detector found either. A change that lasts (a cut to
    another camera, a walk) is the same person. Somebody else is whoever is seen between two detections of the other, at another place: for
    less than ``BRIEF`` frames at once, or in another size and in less than half as many frames; and whoever is seen in another place and
    size at the beginning or the end alone, for less than ``BRIEF`` frames and half as many.

    The signer is, of those who do not only pass by, the one with the widest shoulders, the most joints seen and the most movement.
    """
    if (one := _alone(joints[..., :2], confidence, body, shoulders)) is not None:
        return one
    joints = joints[..., :2].astype(np.float64)
    tracks = _tracks(joints, confidence, body, shoulders)
    alone = bool(((confidence > 0).any(axis=2).sum(axis=1) <= 1).all())
    people = _people(tracks, alone, len(joints), body)
    chosen = np.full(len(joints), -1)
    if people:
        longest = max(map(len, people))
        present = [person for person in people if len(person) >= PRESENT * longest]
        signer = max(present, key=lambda person: (person.weight * _liveliness(person.frames, joints, confidence, shoulders), len(person)))
        chosen[list(signer.frames)] = list(signer.frames.values())
    return chosen


@dataclass
class Person:
    """Tracks of one person."""

    frames: dict[int, int]
    weight: float

    def __len__(self) -> int:
        return len(self.frames)


def _tracks(joints: np.ndarray, confidence: np.ndarray, body: slice, shoulders: tuple[int, int]) -> list[Track]:
    tracks, waiting = [], []
    for frame, (places, sure) in enumerate(zip(joints, confidence, strict=True)):
        here = np.flatnonzero(sure.any(axis=1))
        waiting = [track for track in waiting if track.waits(frame)]
        free_tracks, free = set(range(len(waiting))), set(here.tolist())
        if waiting and free:
            last, seen = np.stack([track.last for track in waiting]), np.stack([track.seen for track in waiting])
            units = np.array([track.unit() for track in waiting])
            place, growth = _apart(last, seen, units, places[here], sure[here] > 0, body)
            lacking = 1 - (seen[:, None] & (sure[here] > 0)).sum(axis=2) / seen.sum(axis=1)[:, None]
            distances = place + growth + FEWER * REACH * lacking
            for t, k in zip(*np.unravel_index(np.argsort(distances, axis=None, kind="stable"), distances.shape), strict=True):
                i = int(here[k])
                if distances[t, k] <= REACH and t in free_tracks and i in free:
                    waiting[t].add(frame, i, places[i], sure[i], shoulders)
                    free_tracks.discard(t)
                    free.discard(i)
        for i in sorted(free):
            waiting.append(Track(places[i].copy(), places[i].copy(), np.zeros(places.shape[1], bool)))
            waiting[-1].add(frame, i, places[i], sure[i], shoulders)
            tracks.append(waiting[-1])
    return tracks


def _apart(
    before: np.ndarray, seen_before: np.ndarray, units: np.ndarray, here: np.ndarray, seen: np.ndarray, body: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Of tracks ``(t, joints, 2)`` and people ``(p, joints, 2)`` how far they are apart in units, and the logarithm of the ratio of their
    sizes, both ``(t, p)``; by the joints of the body that both have, else by all, and infinitely far where there are none."""
    both = seen_before[:, None] & seen
    common = np.zeros_like(both)
    common[..., body] = both[..., body]
    common |= both & ~common.any(axis=2, keepdims=True)
    number = common.sum(axis=2)
    moved = np.where(common, np.hypot(*np.moveaxis(here - before[:, None], -1, 0)), np.inf)
    middle = np.take_along_axis(np.sort(moved, axis=2), np.maximum(number - 1, 0)[..., None] // 2, axis=2)[..., 0]
    sizes = [_spread(points, common, np.maximum(number, 1)) for points in (before[:, None], here)]
    growth = np.abs(np.log(np.maximum(sizes[1], 1e-9) / np.maximum(sizes[0], 1e-9))) * (np.minimum(*sizes) > 0)
    return middle / np.maximum(np.maximum(units[:, None], sizes[0]), 1e-9), growth


def _spread(points: np.ndarray, common: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Mean distance of the common joints from their centre ``(t, p)``."""
    points = np.where(common[..., None], points, 0)
    apart = np.hypot(*np.moveaxis(points - (points.sum(axis=2) / number[..., None])[:, :, None], -1, 0))
    return np.where(common, apart, 0).sum(axis=2) / number


def _people(tracks: list[Track], alone: bool, frames: int, body: slice) -> list[Person]:
    """Tracks joined, the nearest first; alone: there are never two people in a frame."""
    lasting = [track for track in tracks if alone or len(track.frames) >= LASTING]
    group = list(range(len(lasting)))
    masks = np.zeros((len(lasting), frames), bool)
    for mask, track in zip(masks, lasting, strict=True):
        mask[list(track.frames)] = True
    for place, growth, t, other in _jumps(lasting, body):
        a, b = group[t], group[other]
        if a != b and not (masks[a] & masks[b]).any() and (place + growth <= REACH or _same(place, growth, masks[a], masks[b], alone)):
            masks[a] |= masks[b]
            group = [a if each == b else each for each in group]
    people = []
    for each in sorted(set(group)):
        joined = [track for track, own in zip(lasting, group, strict=True) if own == each]
        weights = [weight for track in joined for weight in track.weights]
        people.append(Person({f: i for track in joined for f, i in track.frames.items()}, float(np.median(weights))))
    passing = [] if alone else [track for track in tracks if len(track.frames) < LASTING]
    return people + [Person(track.frames, float(np.median(track.weights))) for track in passing]


def _jumps(tracks: list[Track], body: slice) -> Iterator[tuple[float, float, int, int]]:
    """From where a track ends to where a later one begins: how far in shoulder widths, how much wider, and which two; the least first."""
    if len(tracks) < 2:
        return
    first, last, seen = (np.stack([getattr(track, name)[body] for track in tracks]) for name in ("first", "last", "seen"))
    ends = np.array([next(reversed(track.frames)) for track in tracks])
    widths = np.array([statistics.median(track.widths) if track.widths else 0.0 for track in tracks])
    found = []
    for t in range(1, len(tracks)):
        before = ends[:t] < next(iter(tracks[t].frames))
        place, growth = np.empty(t), np.empty(t)
        for here, where in ((first[t], before), (last[t], ~before)):
            if where.any():
                apart = _apart(last[:t][where], seen[:t][where], widths[:t][where], here[None], seen[t][None], slice(None))
                place[where], growth[where] = apart[0][:, 0], apart[1][:, 0]
        wide = (widths[:t] > 0) & (widths[t] > 0)
        growth[wide] = np.abs(np.log(widths[:t][wide] / widths[t]))
        found += [(place[i], growth[i], t, i) for i in np.flatnonzero((place + growth <= REACH) | (np.arange(t) >= t - LATEST))]
    yield from sorted(found, key=lambda jump: jump[0] + jump[1])


def _same(place: float, growth: float, one: np.ndarray, other: np.ndarray, alone: bool) -> bool:
    """Whether people seen in those frames are the same despite a jump that is out of reach."""
    few, many = sorted((one, other), key=np.count_nonzero)
    rare = few.sum() < many.sum() / 2
    spans = [np.flatnonzero(mask)[[0, -1]] for mask in (few, many)]
    if spans[0][0] < spans[1][1] and spans[1][0] < spans[0][1]:  # one comes back
        turns = np.flatnonzero(np.diff(few[few | many].astype(int), prepend=0, append=0))
        brief = (turns[1::2] - turns[::2]).max() < BRIEF
        elsewhere = place > REACH and ((growth > ALIKE and (brief or rare)) or (brief and place > AWAY))
        return alone and not elsewhere
    if growth <= ALIKE:
        return alone or place < np.inf
    return alone and not (rare and few.sum() < BRIEF and place > REACH)


def _liveliness(frames: dict[int, int], joints: np.ndarray, confidence: np.ndarray, shoulders: tuple[int, int]) -> float:
    """How much the joints that move most move about between the shoulders: ``STILL`` to ``STILL + LIVELY``."""
    where = list(frames), list(frames.values())
    places, seen = joints[where], confidence[where] > 0
    framed = seen[:, list(shoulders)].all(axis=1)
    places, seen = places[framed], seen[framed]
    often = seen.sum(axis=0) > max(1, len(seen) / 2)
    left, right = shoulders
    if not often.any() or not (width := np.median(np.hypot(*(places[:, left] - places[:, right]).T))):
        return STILL
    about = (places - places[:, [left, right]].mean(axis=1, keepdims=True))[:, often] / width
    moved = np.hypot(*np.nanstd(np.where(seen[:, often, None], about, np.nan), axis=0).T)
    return STILL + min(float(np.quantile(moved, 0.9)), LIVELY)


def _alone(joints: np.ndarray, confidence: np.ndarray, body: slice, shoulders: tuple[int, int]) -> np.ndarray | None:
    """As ``follow`` where that is quick to say: at most one person in a frame, who hardly moves from one detection to the next."""
    there = (confidence > 0).any(axis=2)
    frames = np.flatnonzero(there.any(axis=1))
    if (there.sum(axis=1) > 1).any() or not len(frames):
        return None
    person = there.argmax(axis=1)
    places, seen = joints[frames, person[frames]], confidence[frames, person[frames]] > 0
    framed = seen[:, list(shoulders)].all(axis=1)
    width = np.median(np.hypot(*(places[framed, shoulders[0]] - places[framed, shoulders[1]]).T)) if framed.any() else 0.0
    moved = np.hypot(*np.moveaxis(np.diff(places[:, body], axis=0), -1, 0))
    both = (seen[1:] & seen[:-1])[:, body]
    if not both.any(axis=1).all() or (np.where(both, moved, 0).sum(axis=1) > CALM * width * both.sum(axis=1)).any():
        return None
    return np.where(there.any(axis=1), person, -1)


def remarks(chosen: np.ndarray, confidence: np.ndarray) -> tuple[str, ...]:
    """What is to be said of a clip in which the signer was followed; confidence is that of all ``(frames, people, joints)``."""
    people = (confidence > 0).any(axis=2).sum(axis=1)
    crowded, nobody, missed = int((people > 1).sum()), int((people == 0).sum()), int(((people > 0) & (chosen < 0)).sum())
    told = [f"several people in {crowded} of {len(people)} frames (the signer was followed)"] * (crowded > 0)
    told += [f"the signer was not detected in {missed} of {len(people)} frames in which somebody else was"] * (missed > 0)
    return (*told, *[f"nobody in {nobody} of {len(people)} frames"] * (nobody > 0))
