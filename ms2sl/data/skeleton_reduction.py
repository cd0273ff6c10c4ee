"""Poses of one skeleton as poses of another that has some of its joints, so that corpora of several skeletons make one training set."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from ms2sl.data.pose_statistics import PoseStatistics
from ms2sl.data.shards import decode_poses, encode_confidence, encode_poses, parse_header, read_shard, with_column
from ms2sl.data.skeleton import Part, Skeleton
from ms2sl.data.types import Placement, Poses
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath

# Of a shoulder width: shoulders nearer to each other in the plane are of a signer who stands sideways. What preprocessing keeps, within 10
# widths, stays within the 32 that a shard can hold.
NARROWEST = 0.35
POSE_COLUMNS = ("n_frames", "poses", "confidence")


def common_skeleton(skeletons: Sequence[Skeleton]) -> Skeleton:
    """The joints that all of them have under the same ``part/NAME``, in the order of the first, in as many dimensions as all have.

    Raises InputError if their shoulders are not the same joints, or no hand is left.
    """
    first, *others = skeletons
    if not others or all(other == first for other in others):
        return first
    shared = set(first.joints).intersection(*(other.joints for other in others))
    names = ", ".join(dict.fromkeys(each.name for each in skeletons))
    if any(other.shoulders != first.shoulders for other in others) or not shared.issuperset(first.shoulders):
        raise InputError(
            f"skeletons {names} have no shoulders of the same names, so they cannot be one: prepare the data with one skeleton"
        )
    parts = tuple(part for part in (_part(part, shared) for part in first.parts) if part.joints)
    left = {part.name for part in parts}
    wrists = {
        hand: wrist
        for hand, wrist in first.wrists.items()
        if hand in left and wrist in shared and all(other.wrists.get(hand) == wrist for other in others)
    }
    if not wrists:
        raise InputError(f"skeletons {names} have no hand in common: prepare the data with one skeleton")
    dims = min(each.dims for each in skeletons)
    made = Skeleton(name=f"common-{len(shared)}x{dims}", dims=dims, parts=parts, shoulders=first.shoulders, wrists=wrists)
    return next((each for each in skeletons if each.model_copy(update={"name": made.name}) == made), made)


def can_reduce(source: Skeleton, target: Skeleton) -> bool:
    """Whether poses of ``source`` can be made poses of ``target``, and are not that already."""
    return source != target and source.dims >= target.dims and set(target.joints) <= set(source.joints)


def _part(part: Part, shared: set[str]) -> Part:
    kept = [i for i, joint in enumerate(part.joints) if f"{part.name}/{joint}" in shared]
    place = {joint: i for i, joint in enumerate(kept)}
    limbs = tuple((place[a], place[b]) for a, b in part.limbs if a in place and b in place)
    return Part(name=part.name, joints=tuple(part.joints[i] for i in kept), limbs=limbs)


class Reduction:
    """From poses of ``source`` to poses of ``target``.

    Where depth is left out, poses are in shoulder widths of the plane, as if they had been prepared without it.
    Raises InputError if ``source`` lacks a joint or a dimension of ``target``.
    """

    def __init__(self, source: Skeleton, target: Skeleton):
        lacking = [joint for joint in target.joints if joint not in source.joints]
        if lacking or source.dims < target.dims:
            what = f"joint {lacking[0]}" if lacking else f"{target.dims} dimensions"
            raise InputError(f"poses of skeleton {source.name} have no {what}, so they cannot be made poses of {target.name}")
        self.source, self.target = source, target
        self.joints = np.array([source.index(joint) for joint in target.joints])
        self.flattens = source.dims > target.dims

    def poses(self, poses: Poses) -> tuple[Poses, Placement]:
        """Poses of the target, and where they stand among those of the source (unmoved if depth stays)."""
        kept = Poses(poses.joints[:, self.joints, : self.target.dims], poses.confidence[:, self.joints], poses.fps)
        unmoved = Placement((0.0,) * self.target.dims, 1.0)
        if not self.flattens:
            return kept, unmoved
        try:
            placement = self.target.place(kept)
        except InputError:  # of a clip whose shoulders are seen in no frame together
            return kept, unmoved
        return (self.target.normalise(kept), placement) if placement.unit > NARROWEST else (kept, unmoved)

    def row(self, row: dict) -> dict:
        """A row of a shard, with what it has of ``n_frames``, ``poses``, ``confidence``, ``origin`` and ``unit``."""
        poses, moved = self.poses(decode_poses({"fps": 1.0} | row, self.source))
        row = row | {"poses": encode_poses(poses), "confidence": encode_confidence(poses)}
        if row.get("origin"):
            origin, unit = row["origin"][: self.target.dims], row["unit"]
            row |= {"origin": [at + unit * by for at, by in zip(origin, moved.origin, strict=True)], "unit": unit * moved.unit}
        return row

    def table(self, table: pa.Table) -> pa.Table:
        """Rows of a shard, with ``POSE_COLUMNS`` among their columns."""
        names = [name for name in ("fps", *POSE_COLUMNS, "origin", "unit") if name in table.column_names]
        rows = [self.row(row) if row["poses"] else row for row in table.select(names).to_pylist()]
        for name in names:
            table = with_column(table, name, [row[name] for row in rows])
        return table

    def unit(self, statistics: PoseStatistics) -> float:
        """Of the shoulders' distance, how much is left where depth is not: that of their mean places, and so exact for a signer who does
        not turn."""
        if not self.flattens:
            return 1.0
        left, right = (np.array(statistics.mean[self.source.index(joint)]) for joint in self.source.shoulders)
        left_over = float(np.linalg.norm((left - right)[: self.target.dims]) / np.linalg.norm(left - right))
        return left_over if left_over > NARROWEST else 1.0

    def statistics(self, statistics: PoseStatistics) -> PoseStatistics:
        """Those of the joints that are left, in the shoulder widths that are left (see ``unit``)."""
        unit = self.unit(statistics)
        mean, deviation = (np.array(each)[self.joints, : self.target.dims] / unit for each in (statistics.mean, statistics.deviation))
        return PoseStatistics(mean=mean.tolist(), deviation=deviation.tolist(), seen=np.array(statistics.seen)[self.joints].tolist())

    def placement(self, placement: Placement, statistics: PoseStatistics) -> Placement:
        return replace(placement, origin=placement.origin[: self.target.dims], unit=placement.unit * self.unit(statistics))


def read_reduced(where: StoragePath | Path, target: Skeleton, columns: Sequence[str] | None = None) -> pa.Table:
    """``read_shard``, with poses of ``target``. Raises InputError as that does, and if they cannot be made poses of ``target``."""
    posed = columns is None or bool({"poses", "confidence", "origin", "unit"} & set(columns))
    table = read_shard(where, columns)
    source = parse_header(where, table.schema).skeleton
    if source == target or not posed:
        return table
    if not set(POSE_COLUMNS) <= set(table.column_names):
        table = read_shard(where, list(dict.fromkeys([*table.column_names, *POSE_COLUMNS])))
    reduced = Reduction(source, target).table(table)
    return reduced if columns is None else reduced.select(list(columns))
