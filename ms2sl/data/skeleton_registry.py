"""The skeletons of the field, by name."""

from collections.abc import Sequence
from itertools import pairwise

from ms2sl.data.skeleton import Part, Skeleton
from ms2sl.errors import InputError

FINGERS = ("THUMB", "INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
# Contours of MediaPipe's face mesh, by its numbers: brows, lips, eyes and the oval. Lips, eyes and the oval are closed.
FACE_CONTOURS = (
    (46, 53, 52, 65, 55),
    (70, 63, 105, 66, 107),
    (276, 283, 282, 295, 285),
    (300, 293, 334, 296, 336),
    (0, 37, 39, 40, 185, 61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0),
    (13, 82, 81, 80, 191, 78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13),
    (7, 33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (249, 263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    (10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400),
    (400, 378, 379, 365, 397, 288, 361, 323, 454, 356, 389, 251, 284, 332, 297, 338, 10),
)
# Of OpenPose's face, by its numbers: jaw, brows, nose, eyes, lips.
OPENPOSE_CONTOURS = (
    tuple(range(17)),
    tuple(range(17, 22)),
    tuple(range(22, 27)),
    tuple(range(27, 31)),
    tuple(range(31, 36)),
    (*range(36, 42), 36),
    (*range(42, 48), 42),
    (*range(48, 60), 48),
    (*range(60, 68), 60),
)
# fmt: off
OPENPOSE_BODY = (
    "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee", "RAnkle", "LHip", "LKnee",
    "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel",
)
OPENPOSE_LIMBS = (
    (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (0, 1), (0, 15), (15, 17), (0, 16), (16, 18), (8, 9), (9, 10), (10, 11),
    (8, 12), (12, 13), (13, 14), (11, 24), (11, 22), (22, 23), (14, 21), (14, 19), (19, 20),
)
OPENPOSE_HAND = (
    "BASE", "T_STT", "T_BCMC", "T_MCP", "T_IP", "I_CMC", "I_MCP", "I_PIP", "I_DIP", "M_CMC", "M_MCP", "M_PIP", "M_DIP",
    "R_CMC", "R_MCP", "R_PIP", "R_DIP", "P_CMC", "P_MCP", "P_PIP", "P_DIP",
)
# fmt: on
FAN = tuple((0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1) for finger in range(5) for joint in range(4))


def _hand(side: str, joints: Sequence[str], limbs: tuple[tuple[int, int], ...]) -> Part:
    return Part(name=f"{side}_hand", joints=tuple(joints), limbs=limbs)


def _face(numbers: list[int], names: list[str], contours: tuple[tuple[int, ...], ...]) -> Part:
    where = {number: i for i, number in enumerate(numbers)}
    limbs = tuple((where[a], where[b]) for contour in contours for a, b in pairwise(contour))
    return Part(name="face", joints=tuple(names), limbs=limbs)


def _holistic(name: str, dims: int, body: Part, face: bool = False) -> Skeleton:
    """Body and hands of MediaPipe Holistic, and the contours of the face."""
    fingers = [f"{f}_{joint}" for f in FINGERS for joint in (("CMC", "MCP", "IP", "TIP") if f == "THUMB" else ("MCP", "PIP", "DIP", "TIP"))]
    limbs = ((0, 1), (0, 5), (5, 9), (9, 13), (13, 17), (0, 17), *((4 * f + j, 4 * f + j + 1) for f in range(5) for j in range(1, 4)))
    parts = [body, *(_hand(side, ["WRIST", *fingers], limbs) for side in ("left", "right"))]
    if face:
        numbers = sorted({number for contour in FACE_CONTOURS for number in contour})
        parts.append(_face(numbers, [str(number) for number in numbers], FACE_CONTOURS))
    return Skeleton(
        name=name,
        dims=dims,
        parts=tuple(parts),
        shoulders=("body/LEFT_SHOULDER", "body/RIGHT_SHOULDER"),
        wrists={"left_hand": "body/LEFT_WRIST", "right_hand": "body/RIGHT_WRIST"},
    )


def _openpose(name: str, dims: int, body: int, face: bool) -> Skeleton:
    """The first ``body`` joints of OpenPose's BODY_25, its hands and its face."""
    limbs = tuple(limb for limb in OPENPOSE_LIMBS if max(limb) < body)
    parts = [Part(name="body", joints=OPENPOSE_BODY[:body], limbs=limbs)]
    if face:
        prefixes = ("FB", 17), ("FEB", 27), ("FN", 36), ("FE", 48), ("FLO", 60), ("FLI", 68), ("FP", 70)
        names = [f"{next(prefix for prefix, stop in prefixes if i < stop)}_{i}" for i in range(70)]
        parts.append(_face(list(range(70)), names, OPENPOSE_CONTOURS))
    parts += [_hand(side, OPENPOSE_HAND, FAN) for side in ("left", "right")]
    return Skeleton(
        name=name,
        dims=dims,
        parts=tuple(parts),
        shoulders=("body/LShoulder", "body/RShoulder"),
        wrists={"left_hand": "body/LWrist", "right_hand": "body/RWrist"},
    )


UPPER_BODY = Part(
    name="body",
    joints=("NOSE", "LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST"),
    limbs=((1, 2), (1, 3), (3, 5), (2, 4), (4, 6)),
)
TORSO = Part(
    name="body",
    joints=tuple(f"{side}_{joint}" for joint in ("SHOULDER", "ELBOW", "WRIST", "HIP") for side in ("LEFT", "RIGHT")),
    limbs=((0, 1), (0, 2), (2, 4), (1, 3), (3, 5), (0, 6), (1, 7), (6, 7)),
)

HOLISTIC_49X2 = _holistic("holistic-49x2", 2, UPPER_BODY)
HOLISTIC_178X3 = _holistic("holistic-178x3", 3, TORSO, face=True)
OPENPOSE_137X2 = _openpose("openpose-137x2", 2, 25, face=True)
PHOENIX_50X3 = _openpose("phoenix-50x3", 3, 8, face=False)

SKELETONS = {
    skeleton.name: skeleton
    for skeleton in (
        HOLISTIC_49X2,
        _holistic("holistic-50x2", 2, TORSO),
        _holistic("holistic-50x3", 3, TORSO),
        _holistic("holistic-178x2", 2, TORSO, face=True),
        HOLISTIC_178X3,
        _openpose("openpose-50x2", 2, 8, face=False),
        OPENPOSE_137X2,
        PHOENIX_50X3,
    )
}


def skeleton(name: str) -> Skeleton:
    """Raises InputError for a name that is not known."""
    if name not in SKELETONS:
        raise InputError(f"there is no skeleton '{name}'; there are: {', '.join(SKELETONS)}")
    return SKELETONS[name]
