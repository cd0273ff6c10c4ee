"""What batch production reads and writes: utterances in, a folder of `.pose` files and Parquet out.

``poses/<id>.pose`` are the files; ``parts/*.parquet`` are one table of the same poses (columns as in a shard). A part is
written after its files, whole or not at all, and is the proof that its utterances are done.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ms2sl.checkpoint import fingerprint
from ms2sl.clip import Clip, Poses, Utterance
from ms2sl.config import Config
from ms2sl.diffusion import SamplerName
from ms2sl.errors import InputError
from ms2sl.files import replacing, write_files
from ms2sl.names import check_name, nfc
from ms2sl.posefile import to_bytes
from ms2sl.producers.each import produce_each
from ms2sl.producers.ms2sl import MS2SLProducer
from ms2sl.recordings import Recording, find_recordings, read_in_groups
from ms2sl.registry import FETCHED
from ms2sl.shards import decode_poses, encode_confidence, encode_poses, write_parquet
from ms2sl.skeleton import Skeleton
from ms2sl.storage import Location
from ms2sl.tables import kind_of, read_lines, read_table
from ms2sl.texts import normalise

COLUMNS = {"id": ("id",), "text": ("text",)}  # of a table of utterances


class Settings(Config):
    """What decides the poses; a folder holds those of one setting only."""

    model: str
    steps: int
    guidance: float
    sampler: SamplerName = "ddim"  # which is what made a folder that does not say
    seed: int
    duration: float | None

    @classmethod
    def of(cls, model: Path, **options) -> "Settings":
        """``model`` is recorded by the hash of its weights, so that a retrained model is another."""
        return cls(model=fingerprint(model), **options)


class Outcome(NamedTuple):
    """Of a batch: how many were made, ids and reasons of those that could not be, and what was odd about the recordings of the others."""

    made: int
    failed: list[tuple[str, str]]
    remarks: list[str]


class Given(NamedTuple):
    """What there is to produce; ids and reasons of what cannot be read; and how many of what else is in the folder, by suffix."""

    utterances: list[Utterance | Recording]
    unreadable: dict[str, str]
    others: Counter[str]


class OutputFolder:
    """The folder of one production."""

    def __init__(self, path: Path):
        self.path = path

    def claim(self, settings: Settings) -> None:
        """Raises InputError if the folder holds what was made with other settings, or something else altogether."""
        record = self.path / "settings.json"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not record.exists():
                if any(path.name != FETCHED for path in self.path.iterdir()):
                    raise InputError(f"{self.path} is not empty and holds no production: choose another --out")
                write_files(self.path, {record.name: settings.model_dump_json(indent=1).encode()})
        except OSError as error:
            raise InputError(f"{self.path} cannot be used for output: {error.strerror}") from None
        before, now = json.loads(record.read_text()), settings.model_dump(mode="json")
        changed = sorted(key for key, field in Settings.model_fields.items() if now[key] != before.get(key, field.default))
        if changed:
            raise InputError(f"{self.path} holds signing made with another {', '.join(changed)}: choose another --out")

    def done(self) -> set[str]:
        """Ids of the utterances that are finished."""
        return {id for part in self._parts() for id in pq.read_table(part, columns=["id"])["id"].to_pylist()}

    def clips(self) -> Iterator[Clip]:
        """What was produced, part after part."""
        for part in self._parts():
            table = pq.read_table(part)
            skeleton = Skeleton.model_validate_json(table.schema.metadata[b"skeleton"])
            for row in table.to_pylist():
                yield Clip(row["id"], "", "und", "und", text=row["text"], poses=decode_poses(row, skeleton))

    def _parts(self) -> list[Path]:
        return sorted((self.path / "parts").glob("*.parquet"))

    def produce(self, producer: MS2SLProducer, utterances: Sequence[Utterance | Recording], *, seed: int) -> Outcome:
        """Produces and writes a batch. Recordings are read here, no more at once than fit in memory."""
        made, failed, remarks = 0, [], []
        for group in read_in_groups(utterances, failed):
            produced = []
            for utterance, result in zip(group, produce_each(producer, group, seed=seed), strict=True):
                try:
                    check_name(utterance.id, "the id")
                    if isinstance(result, InputError):
                        raise result
                    produced.append((utterance, result))
                    remarks += utterance.speech.remarks if utterance.speech else ()
                except InputError as error:
                    failed.append((utterance.id, str(error)))
            if produced:
                self._write(*zip(*produced, strict=True), producer)
            made += len(produced)
        return Outcome(made, failed, remarks)

    def _write(self, utterances: Sequence[Utterance], produced: Sequence[Poses], producer: MS2SLProducer) -> None:
        for utterance, poses in zip(utterances, produced, strict=True):
            with replacing(self.path / "poses" / f"{utterance.id}.pose") as temporary:
                temporary.write_bytes(to_bytes(poses, producer.skeleton))
        rows = [
            {
                "id": utterance.id,
                "text": utterance.text,
                "fps": poses.fps,
                "n_frames": poses.n_frames,
                "poses": encode_poses(poses),
                "confidence": encode_confidence(poses),
            }
            for utterance, poses in zip(utterances, produced, strict=True)
        ]
        name = hashlib.blake2b("\n".join(sorted(row["id"] for row in rows)).encode(), digest_size=8).hexdigest()
        table = pa.Table.from_pylist(rows).replace_schema_metadata({b"skeleton": producer.skeleton.model_dump_json()})
        write_parquet(Location(self.path / "parts" / f"{name}.parquet"), table)

    def write_failures(self, failed: dict[str, str]) -> None:
        """``failed.json``: ids and reasons; no such file if nothing failed."""
        path = self.path / "failed.json"
        if failed:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(failed, indent=1, ensure_ascii=False), encoding="utf-8")
        else:
            path.unlink(missing_ok=True)


def read_utterances(path: Path, seconds: float | None = None) -> Given:
    """Utterances of a folder of recordings, which are not read yet, or of a file of texts.

    A text file (.txt) has one utterance a line; a table (.csv, .tsv, .jsonl, .parquet) has a column ``text`` and perhaps ``id``.
    Raises InputError if there is nothing to read, a column is missing or an id is not unique.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    others: Counter[str] = Counter()
    if path.is_dir():
        (utterances, others), unreadable, seen = find_recordings(path), {}, set()
        for each in utterances:
            _check_id(each.id, path, seen)
    else:
        utterances, unreadable = _read_texts(path)
    if not utterances and not unreadable:
        raise InputError(f"{path} holds no {'recording, but ' + counted(others) if others else 'utterance'}")
    return Given([replace(item, seconds=seconds) for item in utterances], unreadable, others)


def counted(kinds: Counter[str]) -> str:
    """``2 .txt, 1 folder``."""
    return ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def _read_texts(path: Path) -> tuple[list[Utterance], dict[str, str]]:
    utterances, unreadable, seen = [], {}, set()
    for place, name, text in _texts(Location(path)):
        _check_id(name, place, seen)
        try:
            utterances.append(Utterance(name, text=normalise(text)))
        except InputError as error:
            unreadable[name] = str(error)
    return utterances, unreadable


def _check_id(name: str, place: object, seen: set[str]) -> None:
    """Raises InputError for an id that cannot name a file, or was seen before."""
    check_name(name, f"{place}: the id")
    if name in seen:
        raise InputError(f"{place}: the id '{name}' stands there twice")
    seen.add(name)


def _texts(where: Location) -> Iterator[tuple[str, str, str]]:
    """Place, id and text of each; those without an id are numbered from 0."""
    if kind_of(where, texts=True) == "text":
        texts = ((f"{where}, line {number}", {"text": line}) for number, line in enumerate(read_lines(where), start=1) if line.strip())
    else:
        texts = read_table(where, COLUMNS, required=("text",))
    for number, (place, row) in enumerate(texts):
        yield place, nfc(row.get("id", f"{number:06d}")), row.get("text", "")
