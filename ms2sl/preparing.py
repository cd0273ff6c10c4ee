"""From corpus to shards, one shard at a time, so that any number of processes can share the work."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ms2sl.clip import Speech
from ms2sl.corpora import Corpus
from ms2sl.errors import InputError
from ms2sl.features.base import Featurizer
from ms2sl.shards import Rejection, add_features, read_header, to_row

FORMAT = 2


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be: clips ``start`` to ``stop`` of the corpus, all of one split."""

    file: str
    start: int
    stop: int


def plan_shards(corpus: Corpus, shard_size: int) -> list[ShardPlan]:
    """Splits the corpus into shards of at most ``shard_size`` clips, never across splits."""
    return [
        ShardPlan(f"{split}-{number:05d}.parquet", start, min(start + shard_size, span.stop))
        for split, span in corpus.splits.items()
        for number, start in enumerate(range(span.start, span.stop, shard_size))
    ]


def fingerprint(options: dict) -> str:
    """Hash of all that decides what the shards hold."""
    return hashlib.blake2b(json.dumps(options | {"format": FORMAT}, sort_keys=True).encode(), digest_size=8).hexdigest()


def is_done(path: Path, expected: str) -> bool:
    """Whether the shard is there, whole, and was made with the same options."""
    try:
        return path.exists() and read_header(path).fingerprint == expected
    except InputError:
        return False


def import_rows(corpus: Corpus, plan: ShardPlan) -> tuple[list[dict], list[Rejection]]:
    """The rows of a shard without features, and the clips that could not be used."""
    rows, rejected = [], []
    for index in range(plan.start, plan.stop):
        name = f"clip {index}"
        try:
            clip = corpus.clip(index)
            name = clip.id
            rows.append(to_row(clip, corpus.skeleton))
        except InputError as error:
            rejected.append(Rejection(id=name, reason=str(error)))
    return rows, rejected


def featurize(rows: list[dict], text: Featurizer, speech: Featurizer) -> list[Rejection]:
    """Fills in the features of rows; the rows that have none are taken out and returned as rejections."""
    recordings = [Speech.decode(row["speech"], f"speech of {row['id']}") if row["speech"] else None for row in rows]
    rejected = add_features(rows, "text", [row["text"] for row in rows], text)
    rejected += add_features(rows, "speech", recordings, speech)
    refused = {rejection.id for rejection in rejected}
    rows[:] = [row for row in rows if row["id"] not in refused]
    return rejected
