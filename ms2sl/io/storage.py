"""Files and folders, on this machine or in any store that pyarrow knows."""

import hashlib
import os
import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

import pyarrow as pa
from pyarrow import fs

from ms2sl.errors import InputError
from ms2sl.io.atomic import atomic_write
from ms2sl.io.file_names import check_inside, check_name, is_junk
from ms2sl.io.patient_s3 import PatientS3FileSystem
from ms2sl.io.stored_names import is_undecodable, path_of, stored_path
from ms2sl.io.uri import public, public_uri

NOT_UTF8 = "its name is not UTF-8: rename it"
BUCKETS = ("s3", "gs", "gcs")  # schemes of stores that have them
FAULTS = (pa.ArrowException, OSError, UnicodeError)  # of a store; a name that is no UTF-8


class StoragePath:
    """A local path, or a URI of pyarrow: ``s3://bucket/folder``, ``gs://…``, ``hdfs://…``.

    Options of the store stand in its query, as pyarrow reads them
    (``s3://bucket/folder?endpoint_override=host:9000&scheme=http``); credentials come from where the store's own tools find them,
    or stand in the URI. ``str`` and ``repr`` leave them out; ``uri`` and a pickled copy have them.
    All methods raise InputError where the store cannot be reached or what is asked for is not there. A local one is also a path for
    whatever takes paths (``os.PathLike``); one in a store raises TypeError there.
    """

    def __init__(self, where: "AnyPath"):
        text = where.uri if isinstance(where, StoragePath) else str(where)
        self.is_local = "://" not in text
        self.base, _, self.query = (str(Path(text).absolute()), "", "") if self.is_local else text.partition("?")
        self.base = self.base.rstrip("/") or "/"

    @property
    def uri(self) -> str:
        """The absolute path or the whole URI, with the credentials in it: to open, never to show."""
        return f"{self.base}?{self.query}" if self.query else self.base

    def __str__(self) -> str:
        return self.base.encode(errors="backslashreplace").decode() if self.is_local else public_uri(self.uri)

    def __repr__(self) -> str:
        return f"StoragePath({str(self)!r})"

    def __eq__(self, other) -> bool:
        return isinstance(other, StoragePath) and self.uri == other.uri

    def __hash__(self) -> int:
        return hash(self.uri)

    def __reduce__(self):
        return StoragePath, (self.uri,)

    def __fspath__(self) -> str:
        if not self.is_local:
            raise TypeError(f"{self} is no path of this machine")
        return self.base

    def __truediv__(self, name: str) -> "StoragePath":
        """``name`` within this folder; it may have several parts. Raises InputError for one that would lead out of it."""
        inside = check_inside(name, self)
        joined = f"{self.base.rstrip('/')}/{inside if self.is_local else quote(inside)}"
        return StoragePath(f"{joined}?{self.query}" if self.query else joined)

    def resolve(self, path: str) -> "StoragePath":
        """What a user's own option names, seen from this folder: a path below it, or a whole URI.

        From a local folder it may also lead out of it or be absolute; from a folder in a store, that raises InputError.
        """
        if "://" in path:
            return StoragePath(path)
        if not self.is_local:
            return self / path if path else self
        return StoragePath(posixpath.normpath(posixpath.join(self.base, path)))

    @property
    def name(self) -> str:
        last = posixpath.basename(self.base)
        return last if self.is_local else unquote(last.rpartition("@")[2] if self._is_root else last)

    @property
    def stem(self) -> str:
        return posixpath.splitext(self.name)[0]

    @property
    def parent(self) -> "StoragePath":
        """The folder that it is in; of a bucket itself."""
        above = self.base if self._is_root else posixpath.dirname(self.base)
        return StoragePath(f"{above}?{self.query}" if self.query else above)

    def is_within(self, folder: "StoragePath") -> bool:
        """Whether it is that folder or below it; local links are followed, and of URIs the credentials do not count."""
        if self.is_local and folder.is_local:
            return Path(self).resolve().is_relative_to(Path(folder).resolve())
        one, other = (unquote(public_uri(each.uri).partition("?")[0]) for each in (self, folder))
        return f"{one}/".startswith(f"{other}/") and _endpoint(self.query) == _endpoint(folder.query)

    @property
    def _is_root(self) -> bool:
        """Whether it is a whole store, or a bucket of one."""
        return self.base == "/" if self.is_local else "/" not in self.base.partition("://")[2]

    @cached_property
    def store(self) -> tuple[fs.FileSystem, str]:
        """pyarrow's file system, and what this is called in it. S3 that does not answer is waited for, a minute or two."""
        return self._open(patient=True)

    def hasty(self) -> "StoragePath":
        """The same place, of a store that is not waited for."""
        found = StoragePath(self)
        found.__dict__["store"] = self._open(patient=False)
        return found

    def _open(self, patient: bool) -> tuple[fs.FileSystem, str]:
        if self.is_local:
            return fs.LocalFileSystem(), self.base
        scheme, _, rest = self.base.partition("://")
        bucket, _, path = rest.partition("/")
        try:
            if scheme not in BUCKETS or "@" in path:  # the latter is what a key with an unquoted slash in it leaves
                return fs.FileSystem.from_uri(self.uri)
            store, name = open_bucket(f"{scheme}://{bucket}?{self.query}", patient)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{self} names no store that pyarrow knows: {self._reason(error)}") from None
        return store, f"{name}/{unquote(path)}" if path else name

    def check_reachable(self) -> None:
        """Raises InputError at once, or within seconds, if the store does not answer or refuses to."""
        self.hasty().exists()

    def _info(self) -> fs.FileInfo:
        store, _ = self.store
        try:
            return store.get_file_info(self._stored_path())
        except FAULTS as error:
            raise InputError(f"{self} cannot be reached: {self._reason(error)}") from None

    def _stored_path(self) -> str:
        """The path of what is there under this name in another normal form of Unicode, each part of it; its own if nothing is."""
        store, path = self.store
        key = "" if self.is_local else f"{'/'.join(self.base.split('/')[:3])}?{self.query}"
        return stored_path(store, key, path)

    def local_path(self) -> Path:
        """Of a local file, for what opens paths alone."""
        assert self.is_local
        return Path(self._stored_path() if self._is_utf8() else self.base)

    def exists(self) -> bool:
        return self._info().type != fs.FileType.NotFound

    def stamp(self) -> str:
        """Of a file its size and the time of its last change, of a folder those of all files in it; "" if it does not exist. Another where
        something else was put under the same name."""
        info = self._info()
        if info.type == fs.FileType.NotFound:
            return ""
        return _stamp([info] if info.type == fs.FileType.File else self._listing(recursive=True))

    def stamps(self) -> dict[str, str]:
        """Those of the files directly in this folder, by name: one request, however many there are."""
        return {name: stamp for name, is_folder, stamp in self.entries() if not is_folder}

    def is_folder(self) -> bool:
        return self._info().type == fs.FileType.Directory

    def open(self) -> pa.NativeFile:
        """The file, for reading anywhere in it."""
        store, _ = self.store
        try:
            return store.open_input_file(self._stored_path())
        except FileNotFoundError:
            self._check_name()
            raise InputError(f"{self} does not exist") from None
        except FAULTS as error:
            raise InputError(f"{self} cannot be read: {self._reason(error)}") from None

    def read_bytes(self) -> bytes:
        with self.open() as file:
            try:
                return file.read()
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{self} cannot be read: {self._reason(error)}") from None

    def read_text(self) -> str:
        """UTF-8, with or without a byte order mark."""
        try:
            return self.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{self} is not UTF-8 text (byte {error.start})") from None

    def write(self, content: bytes | pa.Buffer) -> None:
        """The whole file or none of it: stores show an object when its upload is complete, a local file is renamed into place."""
        if self.is_local:
            with atomic_write(Path(self.base)) as temporary:
                temporary.write_bytes(content)
            return
        store, path = self.store
        try:
            with store.open_output_stream(path) as file:
                file.write(content)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self} cannot be written: {self._reason(error)}") from None

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A path of this machine to write to, which becomes this file, whole, if the block ends well."""
        if self.is_local:
            with atomic_write(Path(self.base)) as temporary:
                yield temporary
            return
        with scratch_folder() as folder:
            temporary = folder / self.name
            yield temporary
            self._copy(fs.LocalFileSystem(), str(temporary), *self.store)

    @contextmanager
    def reading(self) -> Iterator[Path]:
        """This file or folder as a path of this machine, for what opens paths alone: itself, or a copy that is deleted at the end."""
        if self.is_local:
            yield self.local_path()
            return
        with scratch_folder() as folder:
            self.download(folder / self.name)
            yield folder / self.name

    def download(self, target: Path) -> None:
        """Copies this file, or this folder with all that is in it, to a path of this machine."""
        store, path = self.store
        if self.is_folder():
            for name in self.files(junk=True):
                (self / name).download(target / name)
            return
        make_folder(target.parent)
        self._copy(store, path, fs.LocalFileSystem(), str(target))

    def upload(self, source: Path, last: str | None = None) -> None:
        """Copies the files of a folder of this machine into this folder of a store. last: the file by which that is known."""
        names = [str(path.relative_to(source)) for path in sorted(source.rglob("*")) if path.is_file()]
        for name in sorted(names, key=lambda name: name == last):
            where = self / name
            where._copy(fs.LocalFileSystem(), str(source / name), *where.store)

    def _copy(self, source: fs.FileSystem, name: str, target: fs.FileSystem, to: str) -> None:
        try:
            fs.copy_files(name, to, source, target)
        except FAULTS as error:
            raise InputError(f"{self} cannot be copied: {self._reason(error)}") from None

    def delete(self) -> None:
        """The file, or the folder with all that is in it; there may be none."""
        store, path = self.store
        try:
            kind = store.get_file_info(path).type
            if kind == fs.FileType.File:
                store.delete_file(path)
            elif kind == fs.FileType.Directory:
                store.delete_dir(path)
        except FAULTS as error:
            raise InputError(f"{self} cannot be deleted: {self._reason(error)}") from None

    def children(self, junk: bool = False) -> Iterator["StoragePath"]:
        """Files and folders directly in this folder, by name; none if it does not exist, and without junk (``is_junk``) unless it is asked
        for."""
        yield from (self / posixpath.basename(path_of(info)) for info in self._listing(recursive=False, junk=junk))

    def entries(self, junk: bool = False) -> Iterator[tuple[str, bool, str]]:
        """Of each file and folder directly in this folder, by name: the name, whether it is a folder, and the ``stamp`` of a file; one
        request, however many there are."""
        for info in self._listing(recursive=False, junk=junk):
            yield posixpath.basename(path_of(info)), not _is_file(info), _stamp([info])

    def folders(self) -> Iterator["StoragePath"]:
        """The folders among its children."""
        found = self._listing(recursive=False)
        yield from (self / posixpath.basename(path_of(info)) for info in found if info.type == fs.FileType.Directory)

    def sizes(self) -> dict[str, int]:
        """Bytes of the files directly in this folder, by name: one request, however many there are."""
        return {posixpath.basename(path_of(info)): info.size for info in self._listing(recursive=False) if _is_file(info)}

    def files(self, junk: bool = False) -> Iterator[str]:
        """Names of all files below this folder, relative to it and in order, without junk unless it is asked for."""
        below = len(self._stored_path().rstrip("/")) + 1
        found = (path_of(info)[below:] for info in self._listing(recursive=True, junk=junk) if _is_file(info))
        yield from filter(None, found)  # a store may have an object that stands for the folder itself

    def _listing(self, recursive: bool, junk: bool = False) -> list[fs.FileInfo]:
        store, _ = self.store
        try:
            path = self._stored_path()
            found = store.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=recursive))
        except FAULTS as error:
            raise InputError(f"{self} cannot be listed: {self._reason(error)}") from None
        if not found:
            self._check_name()
        below = len(path.rstrip("/")) + 1
        kept = (info for info in found if junk or not any(map(is_junk, path_of(info)[below:].split("/"))))
        return sorted(kept, key=path_of)

    def _is_utf8(self) -> bool:
        return not any("\ud800" <= character <= "\udfff" for character in self.base)

    def _check_name(self) -> None:
        """Raises InputError if nothing is found here because the name is not UTF-8; listings have such names with ``\\xe9`` in them."""
        if self.is_local and is_undecodable(self.base):
            raise InputError(f"{self} cannot be read: {NOT_UTF8}")

    def _reason(self, error: Exception) -> str:
        """What pyarrow says, in a line; it repeats a URI that it does not understand."""
        if isinstance(error, UnicodeError):
            return NOT_UTF8
        lines = str(error).replace(self.uri, str(self)).splitlines()
        return public(lines[0]).removeprefix("[Errno 2] ") if lines else type(error).__name__


AnyPath = StoragePath | os.PathLike[str] | str


def write_files(folder: AnyPath, files: Mapping[str, bytes]) -> list[StoragePath]:
    """Writes each, by its name, into the folder; returns their places. Raises InputError as ``check_name`` and ``StoragePath.write`` do."""
    places = {StoragePath(folder) / check_name(name): content for name, content in files.items()}
    for place, content in places.items():
        place.write(content)
    return list(places)


@lru_cache(maxsize=64)
def open_bucket(uri: str, patient: bool) -> tuple[fs.FileSystem, str]:
    """A client for all that is in a bucket, since each has connections of its own, and the name of the bucket."""
    store, name = fs.FileSystem.from_uri(uri)
    return PatientS3FileSystem.of(store) if patient and isinstance(store, fs.S3FileSystem) else store, name


def make_folder(folder: Path) -> None:
    """Makes a folder of this machine, if it is not there. Raises InputError if that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from None


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this machine that is gone at the end. Raises InputError if it cannot be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="ms2sl-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(f"no temporary folder can be made: {error.strerror}; TMPDIR names another place for it") from None
    with folder:
        yield Path(folder.name)


def _endpoint(query: str) -> list[str]:
    return sorted(option for option in query.split("&") if option.startswith("endpoint_override="))


def _is_file(info: fs.FileInfo) -> bool:
    return info.type == fs.FileType.File


def _stamp(found: Iterable[fs.FileInfo]) -> str:
    told = [(posixpath.basename(path_of(each)), each.size, each.mtime_ns) for each in found if _is_file(each)]
    return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()
