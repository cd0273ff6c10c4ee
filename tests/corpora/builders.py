"""Small corpora of the shapes in which real ones come, generated."""

import csv
import json
from pathlib import Path

import numpy as np
import soundfile
import torch

from ms2sl.corpora.slrtp import joint_order
from ms2sl.data.pose_format_io import to_bytes
from ms2sl.data.skeleton_registry import HOLISTIC_178X3, OPENPOSE_137X2, PHOENIX_50X3
from ms2sl.data.types import Placement, Poses

PICTURE = Placement((640.0, 300.0, 0.0), 200.0, 1280, 720)


def signing(skeleton, frames: int = 20, seed: int = 0, fps: float = 25.0) -> Poses:
    """Smooth movement about a plausible pose, in shoulder widths."""
    rng = np.random.default_rng(seed)
    rest = np.random.default_rng(99).uniform(-0.8, 0.8, (skeleton.n_joints, skeleton.dims))
    for joint, x in zip(skeleton.shoulders, (0.5, -0.5), strict=True):
        rest[skeleton.index(joint)] = np.array([x, 0.0, 0.0])[: skeleton.dims]
    phase, speed = rng.uniform(0, 6, (2, skeleton.n_joints, skeleton.dims))
    moved = 0.1 * np.sin(phase + speed * np.arange(frames)[:, None, None] / 25)
    for joint in skeleton.shoulders:
        moved[:, skeleton.index(joint)] = 0
    return Poses((rest + moved).astype(np.float32), np.ones((frames, skeleton.n_joints), np.float32), fps)


def speech(path: Path, seconds: float = 0.5, rate: int = 22_050) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 300 * t), rate)
    return path


def openpose_frame(points: np.ndarray) -> dict:
    """One person: points ``(137, 3)``."""
    cuts = np.cumsum([25, 70, 21, 21])[:-1]
    names = ("pose", "face", "hand_left", "hand_right")
    parts = zip(names, np.split(points, cuts), strict=True)
    return {"person_id": [-1]} | {f"{name}_keypoints_2d": part.ravel().round(3).tolist() for name, part in parts}


def openpose_clip(folder: Path, frames: int = 8, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    joints = signing(OPENPOSE_137X2, frames, seed).joints * PICTURE.unit + np.array(PICTURE.origin[:2])
    points = np.concatenate([joints, np.full((*joints.shape[:2], 1), 0.8)], axis=2)
    for number, frame in enumerate(points):
        write_frame(folder, number, [openpose_frame(frame)])
    return folder


def write_frame(folder: Path, number: int, people: list[dict]) -> None:
    (folder / f"{folder.name}_{number:012d}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": people}))


def how2sign(root: Path, clips: int = 3) -> Path:
    """Train and val in one folder of JSON, as small copies of the corpus have it."""
    for split, first in (("train", 0), ("val", clips)):
        rows = [
            {"VIDEO_ID": f"v{i}", "SENTENCE_NAME": f"v{i}-rgb_front", "START_REALIGNED": "0.1", "SENTENCE": f'He said "number {i}".'}
            for i in range(first, first + clips)
        ]
        write_table(root / f"how2sign_realigned_{split}.csv", rows, "\t")
        for i in range(first, first + clips):
            openpose_clip(root / "json" / f"v{i}-rgb_front", seed=i)
    return root


def write_table(path: Path, rows: list[dict], delimiter: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    quoting = {"quoting": csv.QUOTE_NONE, "quotechar": None} if delimiter == "\t" else {}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, **quoting)
        writer.writeheader()
        writer.writerows(rows)


def phoenix14t(root: Path, clips: int = 3) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev"):
        lines, names = [], []
        for i in range(clips):
            poses = signing(PHOENIX_50X3, 6 + i, seed=i).joints * 0.3
            counter = np.linspace(0, 1, len(poses))[:, None]
            lines.append(" ".join(f"{x:.5f}" for x in np.hstack([poses.reshape(len(poses), -1), counter]).ravel()))
            names.append(f"{split}/{split}-{i}")
        texts = {"skels": lines, "files": names, "text": [f"regen in {name}" for name in names], "gloss": ["REGEN"] * clips}
        for kind, content in texts.items():
            (root / f"{split}.{kind}").write_text("\n".join(content) + "\n")
    return root


def slrtp(root: Path, clips: int = 3) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev"):
        torch.save({f"{split}-{i}": slrtp_entry(i) for i in range(clips)}, root / f"{split}.pt")
    return root


def slrtp_entry(seed: int) -> dict:
    poses = torch.from_numpy(signing(HOLISTIC_178X3, 7, seed).joints[:, joint_order()] * 0.3)
    return {"name": f"clip {seed}", "text": "es regnet", "gloss": "REGEN", "poses_3d": poses, "speaker": "Signer01"}


def pose_file(path: Path, seed: int = 0, frames: int = 10, fps: float = 25.0, skeleton=HOLISTIC_178X3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_bytes(signing(skeleton, frames, seed, fps), skeleton, PICTURE))
    return path


def pose_files(root: Path, clips: int = 3) -> Path:
    """With a table, speech for the first clip, and text alone for the last row."""
    rows = []
    for i in range(clips):
        pose_file(root / "poses" / f"clip-{i}.pose", seed=i, fps=(24, 25, 30)[i % 3])
        rows.append({"pose": f"poses/clip-{i}.pose", "text": f"sentence {i}", "speech": "", "split": "train", "gloss": "G"})
    rows[0]["speech"] = speech(root / "speech" / "clip-0.wav").relative_to(root).as_posix()
    rows.append({"pose": "", "text": "text alone", "speech": "", "split": "dev", "gloss": ""})
    write_table(root / "clips.csv", rows, ",")
    return root
