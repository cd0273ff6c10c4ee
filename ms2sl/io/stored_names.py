"""Names of files as they are stored: in another normal form of Unicode than they are asked for, or in no UTF-8 at all."""

import posixpath
import re
import threading
import time
from typing import NamedTuple

from pyarrow import fs

from ms2sl.io.file_names import nfc

KEPT = 2**19  # names in all listings that are kept
SETTLED = 2_000_000_000  # nanoseconds after which the time of a folder's last change is another if it changes again, on any file system
TRUSTED = 10.0  # seconds for which a listing is, of a store whose folders have no such time
UNDECODABLE = re.compile(r"\\x[89a-f][0-9a-f]")  # a byte as ``path_of`` writes it


class _Listing(NamedTuple):
    """Of a folder, the names that are not ASCII, by their NFC; its last change in ns, and when it was listed in s."""

    names: dict[str, str]
    changed: int | None
    settled: bool
    at: float


_listings: dict[tuple[str, str], _Listing] = {}
_lock = threading.Lock()


def stored_path(store: fs.FileSystem, key: str, path: str) -> str:
    """The path of what is there under this name in another normal form, each part of it; its own if nothing is.

    key: which store it is. Folders are listed once for many names; a name that is in no listing is looked for again where the folder was
    changed since.
    """
    if path.isascii() or store.get_file_info(path).type != fs.FileType.NotFound:
        return path
    found, *parts = path.split("/")
    for part in parts:
        exact = f"{found}/{part}"
        if store.get_file_info(exact or "/").type == fs.FileType.NotFound:
            name = None if part.isascii() else _other_form(store, key, found, nfc(part))
            if name is None:
                return path
            exact = f"{found}/{name}"
        found = exact
    return found


def _other_form(store: fs.FileSystem, key: str, folder: str, name: str) -> str | None:
    listing = _listings.get((key, folder))
    if listing and name in listing.names:
        return listing.names[name]
    changed = store.get_file_info(folder or "/").mtime_ns
    if listing and (time.monotonic() - listing.at < TRUSTED if changed is None else listing.settled and listing.changed == changed):
        return None
    names = (posixpath.basename(path_of(info)) for info in store.get_file_info(fs.FileSelector(folder or "/", allow_not_found=True)))
    settled = changed is not None and time.time_ns() - changed > SETTLED
    listing = _Listing({nfc(each): each for each in names if not each.isascii()}, changed, settled, time.monotonic())
    with _lock:
        _listings.pop((key, folder), None)
        _listings[key, folder] = listing
        while len(_listings) > 1 and sum(len(each.names) + 1 for each in _listings.values()) > KEPT:
            del _listings[next(iter(_listings))]
    return listing.names.get(name)


def path_of(info: fs.FileInfo) -> str:
    r"""Its path, with ``\xe9`` for a byte that is no UTF-8; nothing can be opened by such a path."""
    try:
        return info.path
    except UnicodeDecodeError as error:
        return error.object.decode(errors="backslashreplace")


def is_undecodable(path: str) -> bool:
    """Whether a path that leads to nothing is one of ``path_of`` that cannot be opened."""
    return UNDECODABLE.search(path) is not None
