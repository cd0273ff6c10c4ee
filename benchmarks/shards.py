"""Shards against raw float32 and against Parquet of lists: bytes a frame, frames decoded a second, and what rounding costs.

    python -m benchmarks.shards --corpus how2sign --how2sign.source /corpora/how2sign

Takes the options of jobs.prepare and the first 200 clips with poses.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import machine, save
from jobs.prepare import PrepareCommand
from ms2sl.data.preprocessing import preprocess_clip
from ms2sl.data.shards import ShardHeader, decode_joints, decode_poses, read_shard, rows_table, to_row, write_shard
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Clip, Poses
from ms2sl.errors import InputError
from ms2sl.features import featurizer

CLIPS, AT_LEAST, ROUNDS = 200, 20_000, 5  # clips, frames to decode, rounds
SHOULDERS = 205.0  # pixels between the shoulders in a picture 1280 wide, as in How2Sign


def clips(options: PrepareCommand) -> tuple[Skeleton, list[Clip]]:
    corpus, found = options.open_corpus(), []
    for span in corpus.splits.values():
        for index in span:
            try:
                clip = preprocess_clip(corpus.clip(index), corpus.skeleton, options.poses, options.poses.fps or corpus.fps)
            except InputError:
                continue
            if clip.poses is not None:
                found.append(clip)
            if len(found) == CLIPS:
                return corpus.skeleton, found
    return corpus.skeleton, found


def as_lists(poses: list[Poses]) -> pa.Table:
    columns = {"poses": [clip.joints.ravel() for clip in poses], "confidence": [clip.confidence.ravel() for clip in poses]}
    return pa.table({name: pa.array(values, pa.list_(pa.float32())) for name, values in columns.items()})


def decode_ours(path: Path, skeleton: Skeleton) -> None:
    table, shape = read_shard(path, ["poses", "confidence"]), (skeleton.n_joints, skeleton.dims)
    for poses, confidence in zip(table["poses"], table["confidence"], strict=True):
        decode_joints(poses.as_buffer(), shape)
        np.frombuffer(confidence.as_buffer(), np.uint8).reshape(-1, shape[0])


def decode_rows(path: Path, skeleton: Skeleton) -> None:
    table = pq.read_table(path)
    for poses, confidence in zip(table["poses"].to_pylist(), table["confidence"].to_pylist(), strict=True):
        np.array(poses, np.float32).reshape(-1, skeleton.n_joints, skeleton.dims)
        np.array(confidence, np.float32).reshape(-1, skeleton.n_joints)


def decode_values(path: Path, skeleton: Skeleton) -> None:
    table = pq.read_table(path)
    for poses, confidence in zip(table["poses"], table["confidence"], strict=True):
        poses.values.to_numpy().reshape(-1, skeleton.n_joints, skeleton.dims).copy()
        confidence.values.to_numpy().reshape(-1, skeleton.n_joints)


def main() -> None:
    options = PrepareCommand.parse(sys.argv[1:])
    skeleton, found = clips(options)
    poses = [clip.poses for clip in found]
    frames = sum(clip.n_frames for clip in poses)
    raw = frames * skeleton.n_joints * (skeleton.dims + 1) * 4
    text, speech = featurizer(options.text, "text").features, featurizer(options.speech, "speech").features
    header = ShardHeader(fingerprint="", skeleton=skeleton, text=text, speech=speech)
    with tempfile.TemporaryDirectory() as folder:
        ours, lists = Path(folder) / "ours.parquet", Path(folder) / "lists.parquet"
        write_shard(ours, rows_table([to_row(clip) for clip in found]), header)
        pq.write_table(as_lists(poses), lists)
        group = pq.ParquetFile(ours).metadata.row_group(0)
        columns = [group.column(i) for i in range(group.num_columns)]
        size = sum(column.total_compressed_size for column in columns if column.path_in_schema in ("poses", "confidence"))
        rows = read_shard(ours).to_pylist()
        error = max(np.abs(decode_poses(row, skeleton).joints - clip.joints).max() for row, clip in zip(rows, poses, strict=True))
        repeats = -(-AT_LEAST // frames)
        ways = {"shard": (ours, decode_ours), "rows": (lists, decode_rows), "values": (lists, decode_values)}
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (path, decode) in ways.items():
                start = time.perf_counter()
                for _ in range(repeats):
                    decode(path, skeleton)
                speeds[name].append(repeats * frames / (time.perf_counter() - start))
        default = lists.stat().st_size
    ratio = {name: statistics.median(a / b for a, b in zip(speeds["shard"], speed, strict=True)) for name, speed in speeds.items()}
    decoded = {name: (f"{statistics.median(speed):.0f}", f"{ratio[name]:.1f}") for name, speed in speeds.items()}
    table = [
        ("poses and confidence", "bytes a frame", "of raw", "frames decoded/s (median)", "shard is faster by"),
        ("raw float32", f"{raw / frames:.0f}", "1.00", "", ""),
        ("Parquet of list<float>, as pyarrow writes it, read as rows", f"{default / frames:.0f}", f"{default / raw:.2f}", *decoded["rows"]),
        ("the same, read as Arrow values", "", "", *decoded["values"]),
        ("shard", f"{size / frames:.0f}", f"{size / raw:.2f}", *decoded["shard"]),
    ]
    pixels = f"{error * SHOULDERS:.2f} pixels where shoulders are {SHOULDERS:.0f} apart"
    title = f"{len(found)} clips of {options.corpus}, {frames} frames of {skeleton.name}; the largest error is {pixels}. {machine()}"
    save(f"shards-{skeleton.name}", title, table)


if __name__ == "__main__":
    main()
