"""What batch production reads and writes: utterances in, a folder of `.pose` files and Parquet out.

``poses/<id>.pose`` are the files; ``parts/*.parquet`` are one table of the same poses (columns as in a shard). A part is
written after its files, whole or not at all, and is the proof that its utterances are done.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ms2sl.config import Config
from ms2sl.data.pose_format_io import to_bytes
from ms2sl.data.shards import decode_poses, encode_confidence, encode_poses, write_parquet
from ms2sl.data.signed_language import check_signed_language
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Clip, Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.numbering import ListPosition, numbered
from ms2sl.inference.one_by_one import produce_each
from ms2sl.inference.producer import Producer
from ms2sl.inference.recordings import Recording, find_recordings, read_in_groups, recording_remarks
from ms2sl.io.file_names import FETCHED, check_name, file_name, is_junk, nfc, own_name
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.io.tables import kind_of, read_lines, read_table
from ms2sl.text_normalization import normalise
from ms2sl.training.checkpoint import fingerprint

COLUMNS = {name: (name,) for name in ("id", "text", "signed_language", "signer")}  # of a table of utterances
LISTED = 5  # faults in an error
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


class Given(NamedTuple):
    """What there is to produce; ids and reasons of what cannot be read; and how many of what else is in the folder, by suffix."""

    utterances: list[Utterance | Recording]
    unreadable: dict[str, str]
    others: Counter[str]


Made = Mapping[str, tuple[str | None, str | None]]  # texts and digests by id


def with_numbers(given: Given, made: Made) -> Given:
    """With ids for what has none of its own (``ms2sl.inference.numbering``)."""
    texts = {name: text for name, (text, _) in made.items()}
    return Given(*numbered(given.utterances, given.unreadable, texts), given.others)


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

    def made(self) -> dict[str, tuple[str | None, str | None]]:
        """The text and the digest that each finished utterance was made of, by id."""
        rows = (row for part in self._parts() for row in _read_columns(part, ("id", "text", "digest")).to_pylist())
        return {row["id"]: (row["text"], row.get("digest")) for row in rows}

    def missing(self, given: Sequence[Utterance | Recording], made: Made) -> list[Utterance | Recording]:
        """Those that are not finished, or were finished with another text or recording; of these, what was made is deleted."""
        missing = [each for each in given if each.id not in made or not _is_of(each, *made[each.id])]
        self._forget({each.id for each in missing} & made.keys())
        return missing

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


def read_utterances(place: AnyPath, seconds: float | None = None, signed_language: str | None = None, signer: str | None = None) -> Given:
    """Utterances of a folder of recordings, which are not read yet, or of a file of texts.

    A text file (.txt) has one utterance a line; a table (.csv, .tsv, .jsonl, .parquet) has a column ``text`` and perhaps ``id``,
    ``signed_language`` and ``signer``. signed_language, signer: of those that have none of their own.
    Raises InputError if there is nothing to read, a column is missing or an id is not unique.
    """
    path = StoragePath(place)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    others: Counter[str] = Counter()
    if path.is_folder():
        (utterances, others), unreadable = find_recordings(path), {}
        _check_ids((each.id, str(path)) for each in utterances)
    else:
        utterances, unreadable = _read_texts(path)
    if not utterances and not unreadable:
        raise InputError(f"{path} holds no {'recording, but ' + counted(others) if others else 'utterance'}")
    asked = [
        replace(item, seconds=seconds, signed_language=item.signed_language or signed_language, signer=item.signer or signer)
        for item in utterances
    ]
    return Given(asked, unreadable, others)


def counted(kinds: Counter[str]) -> str:
    """``2 .txt, 1 folder``."""
    return ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def _read_texts(path: StoragePath) -> tuple[list[Utterance], dict[str, str]]:
    utterances, unreadable, places = [], {}, []
    for place, name, row in _texts(path):
        places.append((name, place))
        language = row.get("signed_language")
        try:
            chosen = {"signed_language": language and check_signed_language(language), "signer": row.get("signer") or None}
            utterances.append(Utterance(name, text=normalise(row.get("text", "")), **chosen))
        except InputError as error:
            unreadable[name] = str(error)
    _check_ids(places)
    return utterances, unreadable


def _check_ids(places: Iterable[tuple[str, str]]) -> None:
    """Raises InputError that lists the ids that cannot name a file, or were seen before, with their places."""
    faults, seen = [], {}
    for name, place in places:
        try:
            check_name(name, f"{place}: the id")
        except InputError as error:
            faults.append(str(error))
        if name in seen:
            faults.append(f"{place}: the id '{name}' stands there twice, first in {seen[name].rpartition(', ')[2]}")
        seen.setdefault(name, place)
    if faults:
        raise InputError("; ".join(faults[:LISTED]) + f"; and {len(faults) - LISTED} more like that" * (len(faults) > LISTED))


def _texts(where: StoragePath) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Line, id and row of each; those without an id are numbered from 0."""
    if kind_of(where, texts=True) == "text":
        texts = ((f"{where}, line {number}", {"text": line}) for number, line in enumerate(read_lines(where), start=1) if line.strip())
    else:
        texts = read_table(where, COLUMNS, required=("text",))
    for number, (place, row) in enumerate(texts):
        yield place, nfc(row["id"]) if "id" in row else ListPosition(f"{number:06d}"), row
