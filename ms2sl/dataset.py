"""A dataset: a folder of shards and the ``dataset.json`` that describes them."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from ms2sl.clip import Clip
from ms2sl.config import Config
from ms2sl.errors import InputError
from ms2sl.features.text_bytes import plain
from ms2sl.files import replacing
from ms2sl.pose_space import PoseStatistics, pose_statistics
from ms2sl.shards import Rejection, decode_poses, read_header, read_shard, to_clip
from ms2sl.skeleton import Skeleton

CARD = "dataset.json"


class Shard(Config):
    """A file of the dataset and the number of its rows."""

    file: str
    clips: int


class Split(Config):
    """Counts of a split; ``with_…`` are clips that have the modality."""

    shards: tuple[Shard, ...]
    clips: int
    hours: float
    frames: int
    with_text: int
    with_speech: int
    with_poses: int
    longest: int


class DatasetCard(Config):
    """``dataset.json``: what the dataset is, how it was made and what is in it."""

    name: str
    fingerprint: str
    fps: float
    skeleton: Skeleton
    text_features: str
    speech_features: str
    characters: str
    statistics: PoseStatistics
    splits: dict[str, Split]
    rejected: tuple[Rejection, ...]
    corpus: dict


class Dataset:
    """A prepared dataset on disk.

    Raises InputError if the folder holds none, or if shards are missing, damaged or of another skeleton.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        try:
            self.card = DatasetCard.model_validate_json((self.folder / CARD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{self.folder} holds no dataset ({CARD} is missing): make one with python -m jobs.prepare") from None
        except ValidationError as error:
            raise InputError(f"{self.folder / CARD} is damaged ({error.error_count()} problems): prepare the data again") from None

    @property
    def skeleton(self) -> Skeleton:
        return self.card.skeleton

    def shards(self, split: str) -> list[tuple[Path, int]]:
        """Paths of the split's shards with their numbers of clips, each checked to be there, whole and of this dataset."""
        if split not in self.card.splits:
            raise InputError(f"{self.folder} has no split '{split}'; it has: {', '.join(self.card.splits)}")
        shards = [(self.folder / shard.file, shard.clips) for shard in self.card.splits[split].shards]
        for path, _ in shards:
            header = read_header(path)
            if header.skeleton != self.skeleton:
                raise InputError(
                    f"{path} is of skeleton {header.skeleton.name}, the dataset of {self.skeleton.name}: prepare the data again"
                )
            if header.fingerprint != self.card.fingerprint:
                raise InputError(f"{path} was prepared with other options than {self.folder / CARD}: prepare the data again")
        return shards

    def tables(self, split: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows of a split, shard after shard."""
        for path, _ in self.shards(split):
            yield read_shard(path, columns)

    def clips(self, split: str) -> Iterator[Clip]:
        """The clips of a split, in order, with normalised poses."""
        for table in self.tables(split):
            for row in table.to_pylist():
                yield to_clip(row, self.skeleton)


def describe(name: str, folder: Path, files: list[str], fps: float, corpus: dict) -> DatasetCard:
    """Reads the shards ``files`` in ``folder`` and writes its ``dataset.json``.

    Raises InputError if no training clip was accepted.
    """
    paths = [folder / file for file in files]
    headers = {path: read_header(path) for path in paths}
    header = headers[paths[0]]
    columns = ["split", "text", "n_frames", "n_speech", "fps"]
    tables = {path: read_shard(path, columns) for path in paths}
    rejected = tuple(rejection for path in paths for rejection in headers[path].rejected)
    by_split: dict[str, list[Path]] = {}
    for path, table in tables.items():
        if len(table):
            by_split.setdefault(table["split"][0].as_py(), []).append(path)
    if "train" not in by_split:
        reason = f"; the first: {rejected[0].id}: {rejected[0].reason}" if rejected else ""
        raise InputError(f"no training clip of {name} could be used ({len(rejected)} rejected{reason})")
    card = DatasetCard(
        name=name,
        fingerprint=header.fingerprint,
        fps=fps,
        skeleton=header.skeleton,
        text_features=header.text_features,
        speech_features=header.speech_features,
        characters=_characters(tables.values()),
        statistics=pose_statistics(_train_poses(by_split["train"], header.skeleton), header.skeleton),
        splits={split: _count(members, tables) for split, members in by_split.items()},
        rejected=rejected,
        corpus=corpus,
    )
    with replacing(folder / CARD) as temporary:
        temporary.write_text(json.dumps(card.model_dump(mode="json"), indent=1, ensure_ascii=False), encoding="utf-8")
    return card


def _count(paths: list[Path], tables: dict[Path, pa.Table]) -> Split:
    table = pa.concat_tables([tables[path] for path in paths])
    frames, fps = table["n_frames"].to_numpy(), table["fps"].to_numpy()
    posed = frames > 0
    return Split(
        shards=tuple(Shard(file=path.name, clips=len(tables[path])) for path in paths),
        clips=len(table),
        hours=float((frames[posed] / fps[posed]).sum() / 3600),
        frames=int(frames.sum()),
        with_text=len(table) - table["text"].null_count,
        with_speech=int((table["n_speech"].to_numpy() > 0).sum()),
        with_poses=int(posed.sum()),
        longest=int(frames.max()),
    )


def _characters(tables) -> str:
    texts = (text for table in tables for text in table.filter(pc.equal(table["split"], "train"))["text"].drop_null().to_pylist())
    return "".join(sorted(set().union(*map(plain, texts))))


def _train_poses(paths: list[Path], skeleton: Skeleton):
    for path in paths:
        for row in read_shard(path, ["n_frames", "poses", "confidence", "fps"]).to_pylist():
            if row["poses"]:
                yield decode_poses(row, skeleton)


def summary(card: DatasetCard) -> list[str]:
    """One line a split, for people."""
    lines = [
        f"{split}: {counts.clips} clips, {counts.hours * 60:.1f} min of signing, "
        f"{counts.with_text} with text, {counts.with_speech} with speech"
        for split, counts in card.splits.items()
    ]
    return lines + ([f"rejected: {len(card.rejected)} clips, listed in {CARD}"] if card.rejected else [])


def mean_frames(card: DatasetCard) -> float:
    """Mean length of a training clip in frames."""
    train = card.splits["train"]
    return float(np.divide(train.frames, max(train.with_poses, 1)))
