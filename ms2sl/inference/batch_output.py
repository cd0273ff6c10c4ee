"""What batch production writes: a folder of `.pose` files and Parquet.

``poses/<id>.pose`` are the files; ``parts/*.parquet`` are one table of the same poses (columns as in a shard). A part is
written after its files, whole or not at all, and is the proof that its utterances are done.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ms2sl.config import Config
from ms2sl.data.pose_format_io import to_bytes
from ms2sl.data.shards import decode_poses, encode_confidence, encode_poses, write_parquet
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Clip, Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.one_by_one import produce_each
from ms2sl.inference.producer import Producer
from ms2sl.inference.recordings import Recording, read_in_groups, recording_remarks
from ms2sl.inference.utterance_list import PAGE, UtteranceList
from ms2sl.io.file_names import FETCHED, check_name, file_name, is_junk, nfc, own_name
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.training.checkpoint import fingerprint

MADE = pa.schema([("id", pa.string()), ("text", pa.string()), ("digest", pa.string())])
RemarksOn = Callable[[Utterance], tuple[str, ...]]


class Settings(NamedTuple):
    """What decides the poses; a folder holds those of one setting only.

    model: hash of its weights, so that a retrained model is another. defaults: of the options, which a folder may have been made without.
    """

    model: str
    options: Mapping[str, Any]
    defaults: Mapping[str, Any]
    seed: int
    duration: float | None

    @classmethod
    def of(cls, model: AnyPath, options: Config, *, seed: int, duration: float | None) -> "Settings":
        return cls(fingerprint(model), options.model_dump(mode="json"), type(options)().model_dump(mode="json"), seed, duration)

    def dump(self) -> dict[str, Any]:
        """As plain data."""
        return {"model": self.model, **self.options, "seed": self.seed, "duration": self.duration}


class Outcome(NamedTuple):
    """Of a batch: how many were made, ids and reasons of those that could not be, and the remarks on each of the others that was odd."""

    made: int
    failed: list[tuple[str, str]]
    remarks: list[tuple[str, ...]]


class Made:
    """What is finished. table: ``id``, ``text`` and ``digest`` of each utterance, which may be null."""

    def __init__(self, table: pa.Table):
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> pa.ChunkedArray:
        return self.table["id"]

    def texts(self) -> Iterator[tuple[str, str | None]]:
        """Ids and texts."""
        return ((row["id"], row["text"]) for batch in self.table.to_batches(PAGE) for row in batch.to_pylist())

    def find(self, ids: pa.ChunkedArray) -> np.ndarray:
        """The row of each, -1 where it is not finished ``(ids,)``."""
        return pc.fill_null(pc.index_in(ids, self.ids.combine_chunks()), -1).to_numpy()

    def without(self, ids: pa.ChunkedArray) -> list[str]:
        """The ids of what is finished and is none of these."""
        return self.ids.filter(pc.invert(pc.is_in(self.ids, ids.combine_chunks()))).to_pylist()

    def row(self, number: int) -> tuple[str | None, str | None]:
        """Its text and digest."""
        return self.table["text"][number].as_py(), self.table["digest"][number].as_py()


class OutputFolder:
    """The folder of one production."""

    def __init__(self, place: AnyPath):
        self.path = StoragePath(place)

    def claim(self, settings: Settings) -> None:
        """Raises InputError if the folder holds what was made with other settings, or something else altogether."""
        record = self.path / "settings.json"
        if not record.exists():
            if any(each.name != FETCHED and (not is_junk(each.name) or each.is_folder()) for each in self.path.children(junk=True)):
                raise InputError(f"{self.path} is not empty and holds no production: choose another --out")
            record.write(json.dumps(settings.dump(), indent=1).encode())
        now = settings.dump()
        before = {**settings.defaults, **json.loads(record.read_bytes())}
        changed = sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key))
        if changed:
            raise InputError(f"{self.path} holds signing made with another {', '.join(changed)}: choose another --out")

    def made(self) -> Made:
        """What each finished utterance was made of."""
        columns = [MADE.empty_table()]
        for part in self._parts():
            table = _read_columns(part, MADE.names)
            given = [table[name] if name in table.column_names else pa.nulls(len(table), pa.string()) for name in MADE.names]
            columns.append(pa.table(given, MADE.names).cast(MADE))
        return Made(pa.concat_tables(columns).combine_chunks())

    def missing(self, given: UtteranceList, made: Made) -> UtteranceList:
        """Those that are not finished, or were finished with another text or recording; of these, what was made is deleted."""
        rows = made.find(given.ids)
        others = [number for number in np.flatnonzero(rows >= 0) if not _is_of(given[int(number)], *made.row(rows[number]))]
        self._forget({given[int(number)].id for number in others})
        return given.take(np.union1d(np.flatnonzero(rows < 0), np.array(others, int)))

    def own_name(self, title: str, content: bytes) -> str:
        """The name, without suffix, of the files of a single text or recording: that of its title, or one with an ending of its own where
        the folder has that name for something else. ``names.json`` says for what; some file systems take capitals for small letters.
        """
        plain, own = file_name(title), own_name(title, content)
        record, key = self.path / "names.json", plain.casefold()
        try:
            known = json.loads(record.read_bytes()) if record.exists() else {}
        except (InputError, ValueError) as error:
            raise InputError(f"{record} cannot be read ({error}): delete it, or choose another --out") from None
        if known.setdefault(key, "" if (self.path / f"{plain}.pose").exists() else own) != own:
            return own
        record.write(json.dumps(known, indent=1, ensure_ascii=False).encode())
        return plain

    def _forget(self, ids: set[str]) -> None:
        """Deletes what was made of them."""
        for part in self._parts() if ids else ():
            names = _read_columns(part, ("id",))["id"].to_pylist()
            if ids.isdisjoint(names):
                continue
            table = _read_columns(part).filter([name not in ids for name in names])
            if len(table):
                write_parquet(part, table)
            else:
                part.delete()
        for name in ids:
            (self.path / "poses" / f"{name}.pose").delete()

    def clips(self) -> Iterator[Clip]:
        """What was produced, part after part."""
        for part in self._parts():
            table = _read_columns(part)
            skeleton = Skeleton.model_validate_json(table.schema.metadata[b"skeleton"])
            for row in table.to_pylist():
                yield Clip(row["id"], "", "und", "und", text=row["text"], poses=decode_poses(row, skeleton))

    def _parts(self) -> list[StoragePath]:
        return [path for path in (self.path / "parts").children() if path.name.endswith(".parquet")]

    def produce(
        self, producer: Producer, utterances: Sequence[Utterance | Recording], *, seed: int, remarks_on: RemarksOn = recording_remarks
    ) -> Outcome:
        """Produces and writes a batch. Recordings are read here, no more at once than fit in memory.

        remarks_on: what is odd about an utterance, for people.
        """
        made, failed, remarks = 0, [], []
        digests = {each.id: content_digest(each) for each in utterances}
        for group in read_in_groups(utterances, failed):
            produced = []
            for utterance, result in zip(group, produce_each(producer, group, seed=seed), strict=True):
                try:
                    check_name(utterance.id, "the id")
                    if isinstance(result, InputError):
                        raise result
                    produced.append((utterance, result, remarks_on(utterance)))
                except InputError as error:
                    failed.append((utterance.id, str(error)))
            if produced:
                self._write(*zip(*produced, strict=True), producer, digests)  # type: ignore[call-arg]
            made += len(produced)
            remarks += [said for *_, said in produced if said]
        return Outcome(made, failed, remarks)

    def _write(
        self,
        utterances: Sequence[Utterance],
        produced: Sequence[Poses],
        remarks: Sequence[tuple[str, ...]],
        producer: Producer,
        digests: Mapping[str, str],
    ) -> None:
        for utterance, poses in zip(utterances, produced, strict=True):
            (self.path / "poses" / f"{utterance.id}.pose").write(to_bytes(poses, producer.skeleton))
        rows = [
            {
                "id": utterance.id,
                "text": utterance.text,
                "digest": digests[utterance.id],
                "fps": poses.fps,
                "n_frames": poses.n_frames,
                "poses": encode_poses(poses),
                "confidence": encode_confidence(poses),
                "remarks": "; ".join(said) or None,
            }
            for utterance, poses, said in zip(utterances, produced, remarks, strict=True)
        ]
        name = hashlib.blake2b("\n".join(sorted(row["id"] for row in rows)).encode(), digest_size=8).hexdigest()
        table = pa.Table.from_pylist(rows).replace_schema_metadata({b"skeleton": producer.skeleton.model_dump_json()})
        write_parquet(self.path / "parts" / f"{name}.parquet", table)

    def write_failures(self, failed: dict[str, str]) -> None:
        """``failed.json``: ids and reasons; no such file if nothing failed."""
        path = self.path / "failed.json"
        if failed:
            path.write(json.dumps(failed, indent=1, ensure_ascii=False).encode())
        else:
            path.delete()


def content_digest(utterance: Utterance | Recording) -> str:
    """Hash of the text or the recording, and the signed language and signer asked for; what was made of another is not taken for this
    one's."""
    chosen = (f"-{utterance.signed_language}" if utterance.signed_language else "") + (f"@{utterance.signer}" if utterance.signer else "")
    if isinstance(utterance, Recording):
        return utterance.digest() + chosen
    speech = utterance.speech.waveform.tobytes() if utterance.speech else b""
    content = speech or (utterance.text or "").encode(errors="surrogatepass")
    return hashlib.blake2b(content, digest_size=8).hexdigest() + chosen


def _is_of(given: Utterance | Recording, text: str | None, digest: str | None) -> bool:
    """Whether what was made of a text or a recording is of this one; before there were digests, folders knew the texts alone."""
    if digest is not None:
        return digest == content_digest(given)
    return given.signed_language is None and given.signer is None and (text is None or " ".join(nfc(text).split()) == given.text)  # type: ignore[union-attr]


def _read_columns(part: StoragePath, columns: Sequence[str] | None = None) -> pa.Table:
    """Those of the columns that the part has; by default all."""
    with part.open() as source, pq.ParquetFile(source) as file:
        return file.read(columns=columns and [column for column in columns if column in file.schema_arrow.names])
