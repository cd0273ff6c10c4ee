"""Skeletons: which joints a corpus has, and the frame of reference in which they are learned."""

from functools import cached_property

import numpy as np
from pydantic import BaseModel, ConfigDict

from ms2sl.data.types import Placement, Poses
from ms2sl.errors import InputError


class Part(BaseModel):
    """A group of joints (``body``, ``left_hand``, ``right_hand``, ``face``); limbs index into it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]


class Skeleton(BaseModel):
    """Joints in the order in which poses hold them: those of each part, part after part.

    shoulders: the two joints whose midpoint is the origin and whose distance is the unit.
    wrists: for each hand part, the body joint to which the hand is attached.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    dims: int
    parts: tuple[Part, ...]
    shoulders: tuple[str, str]
    wrists: dict[str, str]

    @cached_property
    def joints(self) -> tuple[str, ...]:
        return tuple(f"{part.name}/{joint}" for part in self.parts for joint in part.joints)

    @property
    def n_joints(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Position of ``part/JOINT`` in poses."""
        return self.joints.index(joint)

    def part(self, name: str) -> slice:
        """Where the joints of a part lie in poses."""
        start = 0
        for part in self.parts:
            if part.name == name:
                return slice(start, start + len(part.joints))
            start += len(part.joints)
        raise KeyError(f"skeleton {self.name} has no part {name}")

    @property
    def hands(self) -> np.ndarray:
        """Indices of the joints of all hands."""
        spans = [self.part(part.name) for part in self.parts if part.name in self.wrists]
        return np.concatenate([np.arange(span.start, span.stop) for span in spans])

    @property
    def limbs(self) -> np.ndarray:
        """Joint pairs ``(limbs, 2)``, in the indices of poses."""
        return np.array([(self.part(p.name).start + a, self.part(p.name).start + b) for p in self.parts for a, b in p.limbs])

    @cached_property
    def mirrored(self) -> np.ndarray:
        """For each joint the one that is its own in a mirror ``(joints,)``. Raises InputError where names do not tell left from right."""
        unsided = [part.name for part in self.parts if part.name != "body" and part.name not in self.wrists]
        if unsided:
            raise InputError(f"the joints of the {unsided[0]} of skeleton {self.name} have no left and right, so it cannot be mirrored")
        return np.array([self.index(_mirrored_name(joint, self.joints)) for joint in self.joints])

    def check(self, poses: Poses) -> None:
        """Raises InputError where the poses are not finite poses of this skeleton."""
        if poses.joints.shape[1:] != (self.n_joints, self.dims):
            raise InputError(
                f"poses of shape {poses.joints.shape} are not of skeleton {self.name}, which has (frames, {self.n_joints}, {self.dims})"
            )
        if poses.confidence.shape != poses.joints.shape[:2]:
            raise InputError(f"confidence of shape {poses.confidence.shape} does not fit poses of shape {poses.joints.shape}")
        if poses.n_frames == 0:
            raise InputError("the clip has no frames")
        if not np.isfinite(poses.fps) or poses.fps <= 0:
            raise InputError(f"{poses.fps} frames per second is impossible")
        if not ((poses.confidence >= 0) & (poses.confidence <= 1)).all():
            raise InputError("a confidence is not between 0 and 1; 0 is unseen, 1 is certain")
        unseen = ~np.isfinite(poses.joints).all(axis=2)
        if (unseen & (poses.confidence > 0)).any():
            frame, joint = np.argwhere(unseen & (poses.confidence > 0))[0]
            raise InputError(f"joint {self.joints[joint]} is NaN or infinite in frame {frame}; mark it as unseen (confidence 0) instead")

    def place(self, poses: Poses) -> Placement:
        """Where the poses stand: the origin between the shoulders, shoulder width as the unit, both medians over the clip.

        Raises InputError if the shoulders are never seen together.
        """
        left, right = (self.index(joint) for joint in self.shoulders)
        seen = (poses.confidence[:, left] > 0) & (poses.confidence[:, right] > 0)
        if not seen.any():
            raise InputError("the shoulders are never seen, so the pose has no origin and no scale")
        pair = poses.joints[seen][:, [left, right]].astype(np.float64)
        unit = float(np.median(np.linalg.norm(pair[:, 0] - pair[:, 1], axis=-1)))
        if unit < 1e-6:
            raise InputError("both shoulders lie on one point, so the pose has no scale")
        return Placement(tuple(np.median(pair.mean(axis=1), axis=0).tolist()), unit)

    def normalise(self, poses: Poses) -> Poses:
        """In shoulder widths from between the shoulders (see ``place``). Unseen joints become 0."""
        placement = self.place(poses)
        joints = (poses.joints - np.array(placement.origin)) / placement.unit
        return Poses(np.where(poses.confidence[..., None] > 0, joints, 0).astype(np.float32), poses.confidence, poses.fps)


def _mirrored_name(joint: str, joints: tuple[str, ...]) -> str:
    """``body/RIGHT_WRIST`` of ``body/LEFT_WRIST``, ``body/RWrist`` of ``body/LWrist``, ``right_hand/…`` of ``left_hand/…``; else itself."""
    part, name = joint.split("/")
    for left, right in (("left_", "right_"), ("LEFT_", "RIGHT_"), ("L", "R")):
        for one, other in ((left, right), (right, left)):
            of_part = f"{other}{part.removeprefix(one)}/{name}" if part.startswith(one) else f"{part}/{name}"
            swapped = f"{part}/{other}{name.removeprefix(one)}" if name.startswith(one) and part == "body" else of_part
            if swapped != joint and swapped in joints:
                return swapped
    return joint
