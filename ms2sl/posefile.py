"""`.pose` files, the exchange format of the field (pose-format)."""

import io

import numpy as np
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

from ms2sl.clip import Poses
from ms2sl.skeleton import Skeleton

PART_COLOURS = {"body": (70, 70, 80), "left_hand": (0, 120, 190), "right_hand": (214, 80, 20), "face": (120, 120, 120)}
WIDTH, HEIGHT = 512, 512
SHOULDER_WIDTH = 150  # pixels
ORIGIN = (256, 240)  # pixels, from the top left


def to_pose(poses: Poses, skeleton: Skeleton) -> Pose:
    """Normalised poses (shoulder widths, origin between the shoulders) in pixels on a canvas."""
    components = [
        PoseHeaderComponent(
            part.name, list(part.joints), list(part.limbs), [PART_COLOURS.get(part.name, (0, 0, 0))], "XYZ"[: skeleton.dims] + "C"
        )
        for part in skeleton.parts
    ]
    header = PoseHeader(version=0.2, dimensions=PoseHeaderDimensions(WIDTH, HEIGHT, 0), components=components)
    pixels = poses.joints * SHOULDER_WIDTH + np.array([*ORIGIN, 0][: skeleton.dims], np.float32)
    return Pose(header, NumPyPoseBody(poses.fps, pixels[:, None].astype(np.float32), poses.confidence[:, None].astype(np.float32)))


def to_bytes(poses: Poses, skeleton: Skeleton) -> bytes:
    """The `.pose` file of normalised poses."""
    buffer = io.BytesIO()
    to_pose(poses, skeleton).write(buffer)
    return buffer.getvalue()


def from_bytes(encoded: bytes, skeleton: Skeleton) -> Poses:
    """The inverse of ``to_bytes``, up to the rounding of the format."""
    pose = Pose.read(encoded)
    joints = pose.body.data[:, 0].filled(0).astype(np.float32)
    confidence = np.asarray(pose.body.confidence[:, 0], np.float32)
    joints = (joints - np.array([*ORIGIN, 0][: skeleton.dims], np.float32)) / SHOULDER_WIDTH
    return Poses(joints * (confidence[..., None] > 0), confidence, float(pose.body.fps))
