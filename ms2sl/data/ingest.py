"""From corpus to shards, one shard at a time, so that any number of processes can share the work."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ms2sl.audio.loudness import is_silent
from ms2sl.audio.speech import Speech, flac
from ms2sl.data import speech_synthesis
from ms2sl.data.corpus import Corpus
from ms2sl.data.preprocessing import PreprocessConfig, preprocess_clip
from ms2sl.data.shards import SCHEMA, Rejection, ShardHeader, read_header, to_row, with_column, write_shard
from ms2sl.data.types import Clip, left_out
from ms2sl.errors import InputError
from ms2sl.features.base import Featurizer
from ms2sl.io.file_names import check_name
from ms2sl.io.storage import StoragePath

FORMAT = 3
Synthesise = Callable[[Clip], Speech]
# Clips on their way to a shard: speech as int16 samples, encoded only when it is written; of what cannot be used, id and error.
STAGED = pa.schema(
    [field for field in SCHEMA if field.name != "speech"]
    + [pa.field("pcm", pa.large_binary()), pa.field("file", pa.string()), pa.field("error", pa.string())]
)


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
        for optional in ("clip_digest", "detect", "must_install"):
            if hasattr(corpus, optional):
                setattr(self, optional, getattr(corpus, optional))

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


def import_clips(corpus: Corpus, plan: ShardPlan, config: PreprocessConfig, synthesise: Synthesise | None = None) -> pa.Table:
    """The clips of a shard, without features, as ``STAGED``; of those that cannot be used, id and error. Silent speech is left out with a
    remark.

    synthesise: makes speech for clips with text but without speech (``by_espeak``); raises InputError if it cannot.
    """
    rows: list[dict] = []
    for index in range(plan.start, plan.stop):
        name = corpus.id(index)
        try:
            clip = corpus.clip(index)
            if clip.speech is not None and is_silent(clip.speech.waveform, clip.speech.rate):
                clip = clip.without("speech", "nothing is heard in it")
            if synthesise is not None and clip.speech is None and clip.text is not None:
                clip = _spoken(clip, synthesise)
            clip = preprocess_clip(clip, corpus.skeleton, config, config.fps or corpus.fps)
            sound = {} if clip.speech is None else {"pcm": clip.speech.pcm.tobytes()}
            rows.append(to_row(replace(clip, speech=None)) | sound)
        except InputError as error:
            rows.append({"id": name, "error": str(error)})
    return pa.Table.from_pylist([row | {"file": plan.file} for row in rows], STAGED)


def by_espeak(clip: Clip) -> Speech:
    """Its text, by espeak-ng. Raises InputError where that has no voice for the language, or nothing to say."""
    return speech_synthesis.synthesise(clip.text or "", clip.spoken_language)


def _spoken(clip: Clip, synthesise: Synthesise) -> Clip:
    """With speech, or with a remark that there can be none."""
    try:
        return replace(clip, speech=synthesise(clip), speech_source="synthesised")
    except InputError as error:
        return clip.without("speech", error)


def featurize(table: pa.Table, text: Featurizer, speech: Featurizer) -> pa.Table:
    """``STAGED`` clips with their features. Text and speech that have none are left out with a remark; clips of which nothing is left get
    an error."""
    sounds = [Speech.of_pcm(np.frombuffer(pcm.as_buffer(), np.int16)) if pcm.is_valid else None for pcm in table["pcm"]]
    refused: dict[int, dict[str, str]] = {}
    for modality, inputs, own in (("text", table["text"].to_pylist(), text), ("speech", sounds, speech)):
        made, reasons = features(inputs, own)
        dtype = own.features.dtype
        encoded = [None if each is None else each.astype(dtype).tobytes() for each in made]
        table = with_column(table, f"n_{modality}", [0 if each is None else len(each) for each in made])
        table = with_column(table, f"{modality}_features", encoded)
        for row, reason in reasons.items():
            refused.setdefault(row, {})[modality] = reason
    return _without_refused(table, refused) if refused else table


def _without_refused(table: pa.Table, refused: dict[int, dict[str, str]]) -> pa.Table:
    """Without texts and speech, by row and modality, that have no features."""
    names = ("text", "pcm", "speech_source", "remarks", "error")
    columns = {name: table[name].to_pylist() for name in names}
    for row, reasons in refused.items():
        told = [columns["remarks"][row]] if columns["remarks"][row] else []
        for part, reason in reasons.items():
            columns["text" if part == "text" else "pcm"][row] = None
            columns["speech_source"][row] = None if part == "speech" else columns["speech_source"][row]
            columns["remarks"][row] = "; ".join(filter(None, (columns["remarks"][row], left_out(part) + reason)))
        if columns["text"][row] is None and columns["pcm"][row] is None and not table["n_frames"][row].as_py():
            columns["error"][row] = "; ".join([*told, *reasons.values()])
    for name, values in columns.items():
        table = with_column(table, name, values)
    return table


def features(inputs: Sequence, featurizer: Featurizer) -> tuple[list[np.ndarray | None], dict[int, str]]:
    """Features of each input, None where it is None or has none; and why, by its place."""
    given = [i for i, value in enumerate(inputs) if value is not None]
    found: list[np.ndarray | None] = [None] * len(inputs)
    reasons = {}
    try:
        for i, each in zip(given, featurizer([inputs[i] for i in given]), strict=True):
            found[i] = each
    except InputError:  # one by one, to find which
        for i in given:
            try:
                [found[i]] = featurizer([inputs[i]])
            except InputError as error:
                reasons[i] = str(error)
    return found, reasons


def write_clips(where: StoragePath, table: pa.Table, header: ShardHeader) -> int:
    """Writes a shard of ``STAGED`` clips with their features; returns how many had an error, which the header keeps."""
    failed = table.filter(pc.is_valid(table["error"])).select(["id", "error"]).to_pylist()
    good = table.filter(pc.is_null(table["error"]))
    sounds = [flac(np.frombuffer(pcm.as_buffer(), np.int16)) if pcm.is_valid else None for pcm in good["pcm"]]
    good = good.append_column(SCHEMA.field("speech"), pa.array(sounds, pa.large_binary())).select(SCHEMA.names)
    rejected = tuple(Rejection(id=row["id"], reason=row["error"]) for row in failed)
    write_shard(where, good, header.model_copy(update={"rejected": rejected}))
    return len(failed)
