"""What corpora of isolated signs have in common: MediaPipe's landmarks, several recordings of a sign, several signers."""

from abc import abstractmethod
from typing import Literal

import numpy as np
from pydantic import Field

from ms2sl.config import Config
from ms2sl.corpora.records import Record, RecordCorpus, drawn_split, flag
from ms2sl.data.mediapipe_landmarks import HOLISTIC, to_poses
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_registry import skeleton
from ms2sl.data.types import Poses, RawPoses
from ms2sl.errors import InputError
from ms2sl.io.file_names import nfc
from ms2sl.io.uri import PathOrUri

UNSEEN_SIGNER = "unseen_signer"
FIRST = 2  # frames that may be left over from the recording before
JUMP, JUMP_OF_USUAL = 0.1, 4.0  # of the body from one frame to the next: shoulder widths, and times what is usual in the recording


class IsolatedConfig(Config):
    """What all corpora of isolated signs are asked."""

    source: PathOrUri = Field("", description="folder of the corpus, local or a URI")
    skeleton: str = Field("holistic-49x2", description="joints to keep, by the name of a skeleton of MediaPipe")
    fps: float = Field(25.0, gt=0, description="frames a second to which clips are resampled unless --poses.fps says otherwise")
    recorded_fps: float = Field(0, ge=0, description="frames a second of the recordings, where they do not say it; 0 takes what is usual")
    width: int = Field(640, gt=0, description="pixels of the pictures, of which coordinates are fractions")
    height: int = Field(480, gt=0, description="pixels of the pictures")
    dev: float = Field(0.1, ge=0, lt=1, description="share of recordings for dev")
    test: float = Field(0.1, ge=0, lt=1, description="share of recordings for test")
    mirrored: Literal["refuse", "turn"] = Field(
        "refuse",
        description="recordings whose landmarks were mirrored after they were found, as augmentation does: refuse them, since they may be "
        "copies of others, or turn them back",
    )
    unseen_signers: str = Field("", description=f"signers whose recordings are all in the split {UNSEEN_SIGNER}, with commas between them")


class IsolatedSigns(RecordCorpus):
    """Clips of one sign each (or of one phrase). A subclass says which there are and reads their landmarks."""

    usual_fps: float

    def __init__(self, config: IsolatedConfig):
        super().__init__(config)
        self.skeleton, self.fps = skeleton(config.skeleton), config.fps
        if lacking := [joint for joint in self.skeleton.joints if joint not in HOLISTIC]:
            raise InputError(f"{flag(self.name)}.skeleton {config.skeleton} has {lacking[0]}, which MediaPipe has not")
        self.unseen = {nfc(name.strip()) for name in config.unseen_signers.split(",") if name.strip()}

    def split(self, name: str, signer: str | None) -> str:
        """By the name of the recording alone, so that a corpus that grows keeps its test clips; by its signer where they are held out."""
        if signer and nfc(signer) in self.unseen:
            return UNSEEN_SIGNER
        return drawn_split(name, self.config.dev, self.config.test)

    @abstractmethod
    def recordings(self) -> list[Record]:
        """Raises InputError where the corpus is not what it should be as a whole."""

    def records(self) -> list[Record]:
        """The recordings. Raises InputError if a signer who is to be held out is not there."""
        found = self.recordings()
        signers = {record.signer for record in found if record.signer}
        if missing := sorted(self.unseen - {nfc(name) for name in signers}):
            there = ", ".join(sorted(signers)) or "none"
            raise InputError(f"{flag(self.name)}.unseen-signers: there is no {', '.join(missing)}; there are: {there}")
        return found

    def poses(self, values: np.ndarray, confidence: np.ndarray, joints: tuple[str, ...], fps: float | None = None) -> RawPoses:
        """Of landmarks as ``to_poses`` takes them, without first frames that belong to the recording before; fps: where it is known.

        Raises InputError if they are mirrored and such are refused.
        """
        told = fps or self.config.recorded_fps
        raw = to_poses(values, confidence, joints, self.skeleton, told or self.usual_fps, self.config.width, self.config.height)
        cut = stale_frames(raw.poses, self.skeleton)
        kept = Poses(raw.poses.joints[cut:], raw.poses.confidence[cut:], raw.poses.fps)
        remarks = list(raw.remarks)
        if mirrored(kept, self.skeleton):
            why = "its landmarks are mirrored: the left shoulder is on the signer's right, as augmentation leaves it"
            if self.config.mirrored == "refuse":
                raise InputError(f"{why} ({flag(self.name)}.mirrored turn takes it, turned back)")
            kept.joints[..., 0] = (self.config.width - kept.joints[..., 0]) * (kept.confidence > 0)
            remarks.append(f"{why}; turned back")
        if not told:
            remarks.append(f"its frames a second are not known: taken as {self.usual_fps:g} ({flag(self.name)}.recorded-fps)")
        if cut:
            remarks.append(f"{cut} first frame{'s' * (cut > 1)} left out: the body jumps after, as where the recording before ended")
        return RawPoses(kept, raw.width, raw.height, tuple(remarks))


def as_gloss(sign: str) -> str:
    """The name of a sign as one word, since spaces stand between signs."""
    return "-".join(sign.replace("_", " ").split())


def as_text(sign: str) -> str:
    """The name of a sign as a text of its spoken language."""
    return " ".join(sign.replace("_", " ").replace("-", " ").split())


def mirrored(poses: Poses, skeleton: Skeleton) -> bool:
    """Whether the left shoulder is to the left in most frames, as of a person who is seen from behind."""
    left, right = (skeleton.index(joint) for joint in skeleton.shoulders)
    seen = (poses.confidence[:, left] > 0) & (poses.confidence[:, right] > 0)
    return bool(seen.any() and np.median(poses.joints[seen, left, 0] - poses.joints[seen, right, 0]) < 0)


def stale_frames(poses: Poses, skeleton: Skeleton) -> int:
    """How many of the first frames are left over from the recording before: after them the body is at another place at once.

    Webcam tools that record take after take write the last picture of one as the first of the next.
    """
    body = skeleton.part("body")
    wrists = [skeleton.index(wrist) for wrist in skeleton.wrists.values()]
    slow = [joint for joint in range(body.start, body.stop) if joint not in wrists]
    left, right = (skeleton.index(joint) for joint in skeleton.shoulders)
    seen = poses.confidence[:, slow] > 0
    together = (poses.confidence[:, left] > 0) & (poses.confidence[:, right] > 0)
    if poses.n_frames < FIRST + 2 or not together.any():
        return 0
    unit = np.median(np.linalg.norm(poses.joints[together, left, :2] - poses.joints[together, right, :2], axis=1))
    both = seen[1:] & seen[:-1]
    moved = np.linalg.norm(np.diff(poses.joints[:, slow, :2], axis=0), axis=2)
    steps = (moved * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    limit = max(JUMP * unit, JUMP_OF_USUAL * np.median(steps[FIRST:]))
    jumps = np.flatnonzero(steps[:FIRST] > limit)
    return int(jumps[-1]) + 1 if len(jumps) else 0
