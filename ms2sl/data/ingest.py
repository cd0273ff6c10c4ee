"""From corpus to shards, one shard at a time, so that any number of processes can share the work."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ms2sl.audio.loudness import is_silent
from ms2sl.audio.speech import Speech
from ms2sl.data import speech_synthesis
from ms2sl.data.corpus import Corpus
from ms2sl.data.preprocessing import PreprocessConfig, preprocess_clip
from ms2sl.data.shards import Rejection, add_features, read_header, to_row
from ms2sl.data.types import Clip, left_out
from ms2sl.errors import InputError
from ms2sl.features.base import Featurizer
from ms2sl.io.file_names import check_name
from ms2sl.io.storage import StoragePath

FORMAT = 3


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be: clips ``start`` to ``stop`` of the corpus, all of one split."""

    file: str
    start: int
    stop: int


class SplitOverride:
    """A corpus whose clips are all in one split."""

    def __init__(self, corpus: Corpus, split: str):
        self.corpus, self.name, self.skeleton, self.fps = corpus, corpus.name, corpus.skeleton, corpus.fps
        self.splits = {split: range(sum(len(span) for span in corpus.splits.values()))}
        self.id, self.digest, self.card = corpus.id, corpus.digest, corpus.card
        if hasattr(corpus, "clip_digest"):
            self.clip_digest = corpus.clip_digest

    def clip(self, index: int) -> Clip:
        return replace(self.corpus.clip(index), split=next(iter(self.splits)))


def plan_shards(corpus: Corpus, shard_size: int) -> list[ShardPlan]:
    """Splits the corpus into shards of at most ``shard_size`` clips, never across splits.

    Raises InputError if the name of a split cannot be part of a file's name.
    """
    return [
        ShardPlan(f"{check_name(split, 'the split')}-{number:05d}.parquet", start, min(start + shard_size, span.stop))
        for split, span in corpus.splits.items()
        for number, start in enumerate(range(span.start, span.stop, shard_size))
    ]


def fingerprint(options: dict) -> str:
    """Hash of all that decides what the shards hold."""
    return hashlib.blake2b(json.dumps(options | {"format": FORMAT}, sort_keys=True).encode(), digest_size=8).hexdigest()


def shard_fingerprints(options: dict, corpus: Corpus, plans: Sequence[ShardPlan]) -> dict[str, str]:
    """Hash of all that decides what each shard holds, by its file: the options and its clips."""
    if not hasattr(corpus, "clip_digest"):
        return dict.fromkeys((plan.file for plan in plans), fingerprint(options | {"clips": corpus.digest()}))
    clips = {plan.file: [corpus.clip_digest(index) for index in range(plan.start, plan.stop)] for plan in plans}
    return {file: fingerprint(options | {"clips": digests}) for file, digests in clips.items()}


def is_done(where: StoragePath | Path, expected: str) -> bool:
    """Whether the shard is there, whole, and was made with the same options."""
    try:
        return StoragePath(where).exists() and read_header(where).fingerprint == expected
    except InputError:
        return False


def import_rows(corpus: Corpus, plan: ShardPlan, config: PreprocessConfig, synthesise: bool = False) -> tuple[list[dict], list[Rejection]]:
    """The rows of a shard without features, and the clips that could not be used. Silent speech is left out with a remark.

    synthesise: clips with text but without speech get speech from espeak-ng.
    """
    rows, rejected = [], []
    for index in range(plan.start, plan.stop):
        name = corpus.id(index)
        try:
            clip = corpus.clip(index)
            if clip.speech is not None and is_silent(clip.speech.waveform, clip.speech.rate):
                clip = clip.without("speech", "nothing is heard in it")
            if synthesise and clip.speech is None and clip.text is not None:
                clip = _spoken(clip)
            rows.append(to_row(preprocess_clip(clip, corpus.skeleton, config, config.fps or corpus.fps)))
        except InputError as error:
            rejected.append(Rejection(id=name, reason=str(error)))
    return rows, rejected


def _spoken(clip: Clip) -> Clip:
    """With speech from espeak-ng, or with a remark where it has no voice for the language or nothing to say."""
    try:
        return replace(clip, speech=speech_synthesis.synthesise(clip.text, clip.spoken_language), speech_source="synthesised")
    except InputError as error:
        return clip.without("speech", error)


def featurize(rows: list[dict], text: Featurizer, speech: Featurizer) -> list[Rejection]:
    """Fills in the features of rows. Text and speech that have none are left out with a remark; rows of which nothing is left are taken
    out and returned as rejections."""
    recordings = [Speech.decode(row["speech"], f"speech of {row['id']}") if row["speech"] else None for row in rows]
    refused = [(each, "text") for each in add_features(rows, "text", [row["text"] for row in rows], text)]
    refused += [(each, "speech") for each in add_features(rows, "speech", recordings, speech)]
    by_id, reasons = {row["id"]: row for row in rows}, {}
    for rejection, part in refused:
        row = by_id[rejection.id]
        reasons.setdefault(rejection.id, [row["remarks"]] if row["remarks"] else []).append(rejection.reason)
        row |= {part: None} | ({"speech_source": None} if part == "speech" else {})
        row["remarks"] = "; ".join(filter(None, (row["remarks"], left_out(part) + rejection.reason)))
    empty = {row["id"] for row in rows if row["text"] is None and row["speech"] is None and not row["n_frames"]}
    rows[:] = [row for row in rows if row["id"] not in empty]
    return [Rejection(id=name, reason="; ".join(found)) for name, found in reasons.items() if name in empty]
