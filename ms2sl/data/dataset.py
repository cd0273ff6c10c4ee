"""A dataset: a folder of shards and the ``dataset.json`` that describes them."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError

from ms2sl.config import Config
from ms2sl.data.clip_counts import Counts
from ms2sl.data.pose_statistics import PoseStatistics, PoseSums
from ms2sl.data.shards import Rejection, ShardHeader, parse_header, read_header, read_shard, to_clip, write_parquet
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_reduction import read_reduced
from ms2sl.data.types import PARTS, Clip, Placement, left_out
from ms2sl.errors import InputError
from ms2sl.features.base import Features
from ms2sl.io.file_names import split_name
from ms2sl.io.storage import StoragePath
from ms2sl.text_normalization import plain

CARD, REJECTED = "dataset.json", "rejected.parquet"
REJECTIONS = pa.schema([("id", pa.string()), ("reason", pa.string())])
LABELS = ["spoken_language", "signed_language", "text", "gloss", "gloss_times", "signer"]
COUNTED = ["id", "split", *LABELS, "n_frames", "n_speech", "fps", "remarks", "origin", "unit"]
READ_AHEAD = 16  # shards that are asked about at a time: what is read of one is little, and a store answers late


class Shard(Config):
    """A file of the dataset, the number of its rows and of its bytes (0 where it was not noted); its fingerprint, where that is not the
    dataset's."""

    file: str
    clips: int
    size: int = 0
    fingerprint: str = ""


class Split(Config):
    """Counts of a split; ``with_…`` are clips that have the modality, or a remark on what was mended; left_out: clips whose text, speech
    or poses could not be used."""

    shards: tuple[Shard, ...]
    clips: int
    hours: float
    frames: int
    with_text: int
    with_speech: int
    with_poses: int
    with_remarks: int
    with_gloss: int = 0
    with_gloss_times: int = 0
    longest: int
    left_out: dict[str, int] = Field(default_factory=dict)


class DatasetCard(Config):
    """``dataset.json``: what the dataset is, how it was made and what is in it.

    placement: medians of those of the training clips. spoken_languages: BCP 47 tags; signed_languages: ISO 639-3 codes. glosses, signers:
    of the training clips, each name once.
    """

    name: str
    fingerprint: str
    fps: float
    skeleton: Skeleton
    text: Features
    speech: Features
    characters: str
    statistics: PoseStatistics
    placement: Placement | None = None
    spoken_languages: tuple[str, ...] = ()
    signed_languages: tuple[str, ...] = ()
    glosses: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()
    splits: dict[str, Split]
    rejected: int
    counts: Counts | None = None
    corpus: dict


class Dataset:
    """A prepared dataset on disk.

    Raises InputError if the folder holds none, or if shards are missing, damaged or of another skeleton.
    """

    def __init__(self, folder: StoragePath | Path | str):
        self.folder = StoragePath(folder)
        if not (self.folder / CARD).exists():
            raise InputError(f"{self.folder} holds no dataset ({CARD} is missing): make one with python -m jobs.prepare")
        try:
            self.card = DatasetCard.model_validate_json((self.folder / CARD).read_text())
        except ValidationError as error:
            raise InputError(f"{self.folder / CARD} is damaged ({error.error_count()} problems): prepare the data again") from None

    @property
    def skeleton(self) -> Skeleton:
        return self.card.skeleton

    def shards(self, split: str) -> list[tuple[StoragePath, int]]:
        """Places of the split's shards with their numbers of clips, each checked to be there, whole and of this dataset.

        The folder is listed once. Only a shard that has not the size that the card notes is opened.
        """
        named = self.card.splits[self._known(split)].shards
        sizes, shards = self.folder.sizes(), []
        for shard in named:
            path = self.folder / shard.file
            shards.append((path, shard.clips))
            if not shard.size or sizes.get(shard.file) != shard.size:
                self._check(path, shard)
        return shards

    def shard_sizes(self, split: str) -> list[int]:
        """Bytes of each shard of the split, 0 where the card does not note them."""
        return [shard.size for shard in self.card.splits[self._known(split)].shards]

    def __str__(self) -> str:
        return str(self.folder)

    def _known(self, split: str) -> str:
        """The split as the card calls it. Raises InputError if there is none."""
        split = split if split in self.card.splits else split_name(split)
        if split not in self.card.splits:
            raise InputError(f"{self} has no split '{split}'; it has: {', '.join(self.card.splits)}")
        return split

    def _check(self, path: StoragePath, shard: Shard) -> None:
        header = read_header(path)
        if header.skeleton != self.skeleton:
            raise InputError(f"{path} is of skeleton {header.skeleton.name}, the dataset of {self.skeleton.name}: prepare the data again")
        if header.fingerprint != (shard.fingerprint or self.card.fingerprint):
            raise InputError(f"{path} was prepared with other options than {self.folder / CARD}: prepare the data again")

    @property
    def parts(self) -> dict[str, dict]:
        """Of a mixture, name and weight of each dataset, by its fingerprint."""
        return {}

    @property
    def weights(self) -> tuple[tuple[int, float], ...]:
        """How often its training clips come in an epoch: numbers of shards, in their order, and the weight of these (see ``EpochPlan``)."""
        return ((len(self.card.splits["train"].shards), 1.0),)

    @property
    def validation(self) -> str:
        """The split to validate on: dev, or train where a small corpus has no dev."""
        return "dev" if "dev" in self.card.splits else "train"

    def tables(self, split: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows of a split, shard after shard."""
        for path, _ in self.shards(split):
            yield read_reduced(path, self.skeleton, columns)

    def clips(self, split: str) -> Iterator[Clip]:
        """The clips of a split, in order, with normalised poses."""
        for table in self.tables(split):
            for row in table.to_pylist():
                yield to_clip(row, self.skeleton)


def write_dataset_card(
    name: str, folder: StoragePath | Path, files: list[str], fps: float, corpus: dict, fingerprint: str = ""
) -> DatasetCard:
    """Reads the shards ``files`` in ``folder`` and writes its ``dataset.json`` and ``rejected.parquet``.

    fingerprint: of the whole dataset; by default that of its shards, which then have one.
    Raises InputError if no training clip was accepted.
    """
    folder = StoragePath(folder)
    tables: dict[str, pa.Table] = {}
    fingerprints: dict[str, str] = {}
    by_split: dict[str, list[str]] = {}
    rejected: list[Rejection] = []
    header: ShardHeader | None = None  # of the first shard for training
    sums: PoseSums | None = None  # of all of these; a header takes more memory than a shard's texts, so no other is kept
    for file, (table, read) in zip(files, _described(folder, files), strict=True):
        tables[file], fingerprints[file] = table.replace_schema_metadata(), read.fingerprint
        rejected += read.rejected
        split = table["split"][0].as_py() if len(table) else None
        if split is not None:
            by_split.setdefault(split, []).append(file)
        if split == "train":
            header, sums = header or read, read.sums if sums is None else sums + read.sums
    write_parquet(folder / REJECTED, pa.Table.from_pylist([rejection.model_dump() for rejection in rejected], REJECTIONS))
    if header is None or sums is None:
        reason = f"{len(rejected)} rejected; the first: {rejected[0].id}: {rejected[0].reason}" if rejected else "it has none"
        raise InputError(f"no training clip of {name} could be used ({reason}); --split train makes all clips training clips")
    training = [tables[file] for file in by_split["train"]]
    _check_poses(name, pa.concat_tables(training))
    fingerprint, sizes = fingerprint or header.fingerprint, folder.sizes()
    shards = {
        file: Shard(file=file, clips=len(tables[file]), size=sizes[file], fingerprint=own * (own != fingerprint))
        for file, own in fingerprints.items()
    }
    card = DatasetCard(
        name=name,
        fingerprint=fingerprint,
        fps=fps,
        skeleton=header.skeleton,
        text=header.text,
        speech=header.speech,
        characters=_characters(tables.values()),
        statistics=sums.statistics(),
        placement=_placement(training),
        spoken_languages=_distinct("spoken_language", tables.values()),
        signed_languages=_distinct("signed_language", tables.values()),
        glosses=tuple(sorted({sign for gloss in _distinct("gloss", training) for sign in gloss.split()})),
        signers=_distinct("signer", training),
        splits={split: _count([shards[file] for file in members], tables) for split, members in by_split.items()},
        rejected=len(rejected),
        counts=_counts(tables.values(), rejected, corpus.get("ignored", {})),
        corpus=corpus,
    )
    (folder / CARD).write(json.dumps(card.model_dump(mode="json"), indent=1, ensure_ascii=False).encode())
    return card


def _described(folder: StoragePath, files: Sequence[str]) -> Iterator[tuple[pa.Table, ShardHeader]]:
    """Of each shard in turn, what is counted of it and its header; some are read ahead."""

    def read(file: str) -> tuple[pa.Table, ShardHeader]:
        table = read_shard(folder / file, COUNTED)
        return table, parse_header(folder / file, table.schema)

    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        for file in files:
            waiting.append(pool.submit(read, file))
            if len(waiting) == READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _check_poses(name: str, table: pa.Table) -> None:
    """Raises InputError if all poses of training were left out, as they are where the skeleton is another."""
    lost = table.filter(_lost(table, "poses"))
    if len(lost) and not (table["n_frames"].to_numpy() > 0).any():
        first = f"{lost['id'][0]}: {lost['remarks'][0]}"
        raise InputError(f"no poses of a training clip of {name} could be used ({len(lost)}; the first: {first})")


def _lost(table: pa.Table, part: str) -> pa.ChunkedArray:
    """bool ``(clips,)``: whether the part could not be used."""
    return pc.match_substring(pc.fill_null(table["remarks"], ""), left_out(part))


def _count(shards: list[Shard], tables: dict[str, pa.Table]) -> Split:
    table = pa.concat_tables([tables[shard.file] for shard in shards])
    frames, fps = table["n_frames"].to_numpy(), table["fps"].to_numpy()
    posed = frames > 0
    return Split(
        shards=tuple(shards),
        clips=len(table),
        hours=float((frames[posed] / fps[posed]).sum() / 3600),
        frames=int(frames.sum()),
        with_text=len(table) - table["text"].null_count,
        with_speech=int((table["n_speech"].to_numpy() > 0).sum()),
        with_poses=int(posed.sum()),
        with_remarks=len(table) - table["remarks"].null_count,
        with_gloss=len(table) - table["gloss"].null_count,
        with_gloss_times=len(table) - table["gloss_times"].null_count,
        longest=int(frames.max()),
        left_out={part: count for part in PARTS if (count := pc.sum(_lost(table, part)).as_py())},
    )


def _counts(tables: Iterable[pa.Table], rejected: list[Rejection], ignored: dict[str, int]) -> Counts:
    remarks = (each.split("; ") if each else () for table in tables for each in table["remarks"].to_pylist())
    return Counts.of(remarks, (rejection.reason for rejection in rejected), ignored)


def _placement(tables: list[pa.Table]) -> Placement | None:
    table = pa.concat_tables([table.select(["origin", "unit"]) for table in tables])
    table = table.filter(pc.greater(pc.fill_null(pc.list_value_length(table["origin"]), 0), 0))
    if not len(table):
        return None
    origin = pc.list_flatten(table["origin"]).to_numpy().astype(np.float64).reshape(len(table), -1)
    return Placement(tuple(np.median(origin, axis=0).tolist()), float(np.median(table["unit"].to_numpy().astype(np.float64))))


def _distinct(column: str, tables: Iterable[pa.Table]) -> tuple[str, ...]:
    return tuple(sorted({value for table in tables for value in pc.unique(table[column]).to_pylist() if value}))


def _characters(tables) -> str:
    texts = (text for table in tables for text in table.filter(pc.equal(table["split"], "train"))["text"].drop_null().to_pylist())
    return "".join(sorted(set().union(*map(plain, texts))))


def summary(card: DatasetCard) -> list[str]:
    """One line a split, for people."""
    lines = [
        f"{split}: {counts.clips} clips, {counts.hours * 60:.1f} min of signing, "
        f"{counts.with_text} with text, {counts.with_speech} with speech, {counts.with_poses} with poses"
        for split, counts in card.splits.items()
    ]
    mended = sum(counts.with_remarks for counts in card.splits.values())
    lines += [f"mended: {mended} clips; the column 'remarks' of the shards says how"] if mended else []
    lost = {part: sum(counts.left_out.get(part, 0) for counts in card.splits.values()) for part in PARTS}
    if any(lost.values()):
        told = ", ".join(f"{part} of {count} clips" for part, count in lost.items() if count)
        lines.append(f"left out: {told}; the column 'remarks' of the shards says why")
    return lines + ([f"rejected: {card.rejected} clips; {REJECTED} says which and why"] if card.rejected else [])


def mean_frames(card: DatasetCard) -> float:
    """Mean length of a training clip in frames."""
    train = card.splits["train"]
    return float(np.divide(train.frames, max(train.with_poses, 1)))
