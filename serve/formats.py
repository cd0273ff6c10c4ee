"""What signing looks like in an answer."""

import json
import re
from collections.abc import Callable, Collection

import numpy as np

from ms2sl.data.pose_format_io import to_bytes
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses
from ms2sl.rendering import gif, mp4
from ms2sl.training.checkpoint import ModelCard

DECIMALS = 4  # of shoulder widths
PART = 100  # frames


def to_json(poses: Poses, skeleton: Skeleton) -> bytes:
    """``frames`` (frames, joints, dims) in shoulder widths from between the shoulders, null where a joint is not seen; ``seen`` tells which
    joints may be."""
    content = head(poses, skeleton) | {"n_frames": poses.n_frames, "seconds": poses.seconds, "joints": skeleton.joints}
    # Part by part: nothing else runs in this process while a part is written.
    parts = (Poses(poses.joints[i : i + PART], poses.confidence[i : i + PART], poses.fps) for i in range(0, poses.n_frames, PART))
    frames = b",".join(json.dumps(rounded(part), separators=(",", ":")).encode()[1:-1] for part in parts)
    return json.dumps(content, separators=(",", ":")).encode()[:-1] + b',"frames":[' + frames + b"]}"


def head(poses: Poses, skeleton: Skeleton, parts: Collection[str] = ()) -> dict:
    """What is the same in all frames. parts: of the body that may come after these poses."""
    seen = np.asarray((poses.confidence > 0).any(axis=0))
    for part in map(skeleton.part, parts):
        seen[part] |= not seen[part].any()
    return {"fps": poses.fps, "skeleton": skeleton.name, "dims": skeleton.dims, "seen": seen.tolist()}


def rounded(poses: Poses) -> list:
    """Joints as plain numbers, None where they are not seen."""
    joints = np.round(poses.joints.astype(np.float64), DECIMALS)
    if (poses.confidence > 0).all():
        return joints.tolist()
    return np.where(poses.confidence[..., None] > 0, joints.astype(object), None).tolist()


POSE = "application/pose"
FORMATS: dict[str, Callable[[Poses, Skeleton], bytes]] = {POSE: to_bytes, "application/json": to_json, "image/gif": gif, "video/mp4": mp4}
DRAWN = ("image/gif", "video/mp4")  # which take long


def negotiate_media_type(accept: str) -> str | None:
    """The format that an Accept header likes best, the first of ``FORMATS`` where it likes several alike; None if it wants none."""
    wishes = [_wish(wish) for wish in accept.split(",")] if accept.strip() else [("*/*", 1.0)]

    def liking(name: str) -> float:
        matching = {name: 2, f"{name.split('/')[0]}/*": 1, "*/*": 0}
        found = [(matching[kind], weight) for kind, weight in wishes if kind in matching]
        return max(found)[1] if found else 0.0

    best = max(FORMATS, key=liking)
    return best if liking(best) > 0 else None


def _wish(wish: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in wish.split(";"))
    weight = next((value for name, _, value in (parameter.partition("=") for parameter in parameters) if name == "q"), "1")
    return kind, min(float(weight), 1.0) if re.fullmatch(r"[01](\.[0-9]{0,3})?", weight) else 0.0


def model_description(card: ModelCard, version: str) -> dict:
    """The card of a model, for those who use it."""
    return {
        "name": card.kind,
        "version": version,
        "software": card.version,
        "commit": card.commit,
        "fps": card.fps,
        "modalities": card.learned,
        "spoken_languages": card.spoken_languages,
        "signed_languages": card.signed_languages,
        "choices": card.choices or {},
        "characters": card.characters if card.text.vocabulary else "",
        "description": card.description,
        "skeleton": card.skeleton.model_dump(mode="json") | {"joints": card.skeleton.joints},
    }
