"""`.pose` files, the exchange format of the field (pose-format)."""

import io
import struct

import numpy as np
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

from ms2sl.data.detections import fractions, seen_without_zeros
from ms2sl.data.mediapipe_depth import scale_depth
from ms2sl.data.person_tracking import follow, remarks
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Placement, Poses, RawPoses
from ms2sl.errors import InputError

PART_COLOURS = {"body": (70, 70, 80), "left_hand": (0, 120, 190), "right_hand": (214, 80, 20), "face": (120, 120, 120)}
# What the tools of the field call the parts of a skeleton.
COMPONENTS = {
    "body": ("body", "POSE_LANDMARKS", "pose_keypoints_2d", "BODY_25"),
    "left_hand": ("left_hand", "LEFT_HAND_LANDMARKS", "hand_left_keypoints_2d", "HAND_LEFT"),
    "right_hand": ("right_hand", "RIGHT_HAND_LANDMARKS", "hand_right_keypoints_2d", "HAND_RIGHT"),
    "face": ("face", "FACE_LANDMARKS", "face_keypoints_2d", "FACE"),
}
NO_DEPTH = (0, 1000)  # what pose-format writes as depth where it was told none
CANVAS = Placement(origin=(256.0, 240.0, 0.0), unit=150.0, width=512, height=512)


def to_pose(poses: Poses, skeleton: Skeleton, placement: Placement = CANVAS) -> Pose:
    """Normalised poses in the picture of a placement; by default on a canvas of 512 × 512 pixels."""
    components = [
        PoseHeaderComponent(
            part.name, list(part.joints), list(part.limbs), [PART_COLOURS.get(part.name, (0, 0, 0))], "XYZ"[: skeleton.dims] + "C"
        )
        for part in skeleton.parts
    ]
    header = PoseHeader(version=0.2, dimensions=PoseHeaderDimensions(placement.width, placement.height, 0), components=components)
    pixels = (poses.joints * placement.unit + np.array(placement.origin[: skeleton.dims])) * (poses.confidence[..., None] > 0)
    return Pose(header, NumPyPoseBody(poses.fps, pixels[:, None].astype(np.float32), poses.confidence[:, None].astype(np.float32)))


def to_bytes(poses: Poses, skeleton: Skeleton, placement: Placement = CANVAS) -> bytes:
    """The `.pose` file of normalised poses."""
    buffer = io.BytesIO()
    to_pose(poses, skeleton, placement).write(buffer)
    return buffer.getvalue()


def from_bytes(encoded: bytes, skeleton: Skeleton, width: int = 0, height: int = 0) -> RawPoses:
    """The joints of a skeleton from a `.pose` file of any version, found by the names of components and points.

    Where there are several people, the signer is followed (``ms2sl.data.person_tracking``), and unseen where not detected. Joints that lie
    on zero are unseen, whatever their confidence. Coordinates that are fractions of the picture become pixels; width, height: of the
    picture of such a file, if it does not say it. Raises InputError if the file is damaged or lacks a joint, or has fractions of an unknown
    picture.
    """
    try:
        pose = Pose.read(encoded)
        joints, confidence = np.asarray(pose.body.data.filled(0), np.float32), np.asarray(pose.body.confidence, np.float32)
    except (struct.error, ValueError, IndexError, KeyError, TypeError, EOFError, OverflowError, MemoryError) as error:
        raise InputError(f"it is cut short or no .pose file ({error})") from None
    if 0 in joints.shape[:2]:
        raise InputError("the .pose file has no frames" if not joints.shape[0] else "there is nobody in the .pose file")
    chosen, dims = _columns(pose.header, skeleton), joints.shape[-1]
    if dims < skeleton.dims:
        raise InputError(f"it has {dims} dimensions, but skeleton {skeleton.name} has {skeleton.dims}")
    parts, shoulders = [skeleton.part(part.name) for part in skeleton.parts], tuple(map(skeleton.index, skeleton.shoulders))
    joints, confidence = joints[:, :, chosen, : skeleton.dims], confidence[:, :, chosen].clip(0, 1)
    confidence = np.stack([seen_without_zeros(joints[:, i], confidence[:, i], parts) for i in range(joints.shape[1])], axis=1)
    size, told = pose.header.dimensions, ()
    given, width, height = (width, height), size.width, size.height
    mediapipe = pose.header.components[0].name.endswith("_LANDMARKS")
    if fractions(joints, confidence, shoulders) == (0, 1):
        width, height = (width, height) if min(width, height) > 1 else given
        if not (width and height):
            raise InputError(
                "its coordinates lie between 0 and 1, and it does not say the size of its picture: give it (--posefiles.width and .height)"
            )
        depth = 1 if mediapipe else width
        joints = joints * np.array([width, height, depth][: skeleton.dims], np.float32)
        told = (f"its coordinates lie between 0 and 1: taken as fractions of {width} × {height} pixels",)
    if (confidence > 0).any(axis=(0, 2)).sum() > 1:
        person = follow(joints, confidence, skeleton.part("body"), shoulders)
        told = (*remarks(person, confidence), *told)
    else:  # one, in every frame: the file says who is who
        person = np.full(len(joints), (confidence > 0).any(axis=(0, 2)).argmax())
    frames = np.arange(len(joints))
    confidence = confidence[frames, person] * (person >= 0)[:, None]
    joints = np.where(confidence[..., None] > 0, joints[frames, person], 0)
    if skeleton.dims == 3 and mediapipe:
        joints = scale_depth(joints, confidence, width if size.depth in NO_DEPTH else size.depth, skeleton)
    return RawPoses(Poses(joints, confidence, float(pose.body.fps)), width, height, told)


def _columns(header: PoseHeader, skeleton: Skeleton) -> list[int]:
    """Where the joints of the skeleton stand in the file."""
    names = [(component.name, point) for component in header.components for point in component.points]
    where = {name: i for i, name in reversed(list(enumerate(names)))}
    columns = []
    for part in skeleton.parts:
        for joint in part.joints:
            found = next((where[component, joint] for component in COMPONENTS[part.name] if (component, joint) in where), None)
            if found is None:
                have = ", ".join(f"{component.name} ({len(component.points)})" for component in header.components)
                raise InputError(f"it has no joint {part.name}/{joint} of skeleton {skeleton.name}; it has {have}: choose another skeleton")
            columns.append(found)
    return columns
