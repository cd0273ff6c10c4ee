"""One person followed through time: detectors list the people of each frame in any order, and miss some of them."""

import math
import statistics
from dataclasses import dataclass, field

import numpy as np

REACH = 0.75  # shoulder widths, and the logarithm of a ratio of sizes: nobody moves or grows so much from one detection to the next
CALM = 0.25  # shoulder widths, the mean over the joints of a body
FEWER = 0.5  # of that reach, for a detection that lacks all of the joints by which the person was known
RECENT = 25  # frames by whose median width of the shoulders distances are measured
PRESENT = 1 / 3  # of the frames of whoever is seen most: who is seen in fewer passes by


@dataclass
class Track:
    """A person so far: where each joint was seen last ``(joints, 2)``, and which detection it is in each frame."""

    joints: np.ndarray
    seen: np.ndarray
    frames: dict[int, int] = field(default_factory=dict)
    widths: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, frame: int, person: int, joints: np.ndarray, confidence: np.ndarray, shoulders: tuple[int, int]) -> None:
        seen = confidence > 0
        self.frames[frame] = person
        self.joints[seen] = joints[seen]
        self.seen |= seen
        left, right = shoulders
        width = math.dist(joints[left], joints[right]) if seen[left] and seen[right] else 0.0
        self.widths += [width] if width else []
        self.weights.append(width * float(confidence.sum()))

    def distance(self, joints: np.ndarray, seen: np.ndarray, body: slice) -> float:
        """Of a detection by place, by size and by joints that it lacks; more than ``REACH`` is another person."""
        both = seen & self.seen
        common = np.flatnonzero(both[body]) + (body.start or 0)
        if not len(common):
            common = np.flatnonzero(both)
        if not len(common):
            return np.inf
        here, before = joints[common], self.joints[common]
        sizes = _spread(here), _spread(before)
        unit = max(statistics.median(self.widths[-RECENT:]) if self.widths else 0.0, sizes[1], 1e-9)
        moved = np.hypot(*(here - before).T)
        place = float(np.partition(moved, (len(moved) - 1) // 2)[(len(moved) - 1) // 2]) / unit
        growth = abs(math.log(sizes[0] / sizes[1])) if min(sizes) > 0 else 0.0
        lacking = 1 - np.count_nonzero(both) / np.count_nonzero(self.seen)
        return place + growth + FEWER * REACH * lacking


def follow(joints: np.ndarray, confidence: np.ndarray, body: slice, shoulders: tuple[int, int]) -> np.ndarray:
    """Which of the people of each frame the signer is, int ``(frames,)``; -1 where the signer was not detected.

    joints: ``(frames, people, joints, dims)``; confidence: ``(frames, people, joints)``, 0 is unseen. body: the joints by which people are
    told apart, shoulders: two of them. A detection belongs to the person who was nearest in place and size when last seen, or to somebody
    new. The signer is, of those who do not only pass by, the one with the widest shoulders and the most joints seen.
    """
    if (one := _alone(joints[..., :2], confidence, body, shoulders)) is not None:
        return one
    tracks: list[Track] = []
    for frame, (places, sure) in enumerate(zip(joints[..., :2].astype(np.float64), confidence, strict=True)):
        here = np.flatnonzero(sure.any(axis=1))
        pairs = [(track.distance(places[i], sure[i] > 0, body), t, i) for t, track in enumerate(tracks) for i in here]
        free_tracks, free = set(range(len(tracks))), set(here.tolist())
        for distance, t, i in sorted(pairs):
            if distance <= REACH and t in free_tracks and i in free:
                tracks[t].add(frame, int(i), places[i], sure[i], shoulders)
                free_tracks.discard(t)
                free.discard(i)
        for i in sorted(free):
            tracks.append(Track(places[i].copy(), np.zeros(places.shape[1], bool)))
            tracks[-1].add(frame, i, places[i], sure[i], shoulders)
    chosen = np.full(len(joints), -1)
    if tracks:
        longest = max(len(track.frames) for track in tracks)
        present = [track for track in tracks if len(track.frames) >= PRESENT * longest]
        signer = max(present, key=lambda track: (float(np.median(track.weights)), len(track.frames)))
        chosen[list(signer.frames)] = list(signer.frames.values())
    return chosen


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


def _spread(points: np.ndarray) -> float:
    """Mean distance of points ``(n, 2)`` from their centre."""
    return float(np.hypot(*(points - points.sum(axis=0) / len(points)).T).sum()) / len(points)
