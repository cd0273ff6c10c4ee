"""Names that become paths: one check for all of them, so that nothing that is read or typed leads out of the folder that it belongs in."""

import hashlib
import posixpath
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

from ms2sl.errors import InputError

LONGEST, LONGEST_BYTES = 100, 200  # of a name; file systems take 255 bytes, with the ending and what is added while a file is written
QUOTED = 60  # characters of a name in an error
JUNK = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "system volume information", "@eadir"}
FETCHED = ".models"  # the folder of registered models that were fetched, within one of results
SPLITS = {"val": "dev", "validation": "dev", "valid": "dev", "training": "train", "testing": "test"}


def check_name(name: str, what: str = "") -> str:
    """The name, if it can be a file or a folder anywhere: letters and digits of any script, ``_``, ``-``, and ``.`` except in front.

    what: of what it is the name, for the error. Raises InputError for any other, so for ``..``, separators, what Windows reserves,
    spaces, control characters and what would be too long.
    """
    letters = all(c in "._-" or unicodedata.category(c)[0] in "LMN" for c in name)
    if not letters or not name or name.startswith(".") or len(name) > LONGEST or len(name.encode()) > LONGEST_BYTES:
        raise InputError(
            f"{what} {_quoted(name)} cannot name a file: use letters, digits, '_', '-' and '.' (not in front), {LONGEST} at most".strip()
        )
    return name


def check_inside(name: str, folder: object) -> str:
    """The path of a file below a folder, in its shortest form. It may have several parts; links in the folder are followed.

    Raises InputError for one that leads out of the folder (``..``, an absolute path) or names nothing in it.
    """
    shortest = posixpath.normpath(name)
    unusual = "\0" in name or any(unicodedata.category(c) == "Cs" for c in name)
    if unusual or shortest.startswith("/") or shortest.split("/")[0] in ("..", "."):
        raise InputError(f"{_quoted(name)} names nothing within {folder}: it must be a path below that folder")
    return shortest


def nfc(name: str) -> str:
    """The form in which names are compared: macOS writes the accents of a name as letters of their own (NFD), other systems do not."""
    return unicodedata.normalize("NFC", name)


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is what an operating system leaves (``._x``, ``.DS_Store``, ``__MACOSX``, ``Thumbs.db``), or
    is hidden, as files are while they are written."""
    return name.startswith(".") or name.lower() in JUNK


def file_kind(path: str) -> str:
    """How a file that is not read is counted: by its suffix, or as what an operating system left."""
    if any(map(is_junk, path.split("/"))):
        return "left by an operating system, or hidden"
    return posixpath.splitext(path)[1].lower() or "without a suffix"


def split_name(name: str, what: str = "the split") -> str:
    """The name of a split in lower case; val, validation and valid are ``dev``, training is ``train``, testing ``test``.

    Raises InputError as ``check_name`` does.
    """
    lower = check_name(name, what).lower()
    return SPLITS.get(lower, lower)


def file_name(title: str) -> str:
    """A name for a file made of any text: what is no letter or digit becomes ``_``, and a long one is cut; others may have the same."""
    name = "".join(c if c.isalnum() else "_" for c in nfc(title))[:QUOTED]
    return name.encode()[:LONGEST_BYTES].decode(errors="ignore")


def own_name(title: str, content: bytes) -> str:
    """As ``file_name``, with an ending that no other content has."""
    cut = file_name(title).encode()[: LONGEST_BYTES - 9].decode(errors="ignore")
    return f"{cut}-{hashlib.blake2b(content, digest_size=4).hexdigest()}"


def _quoted(name: str) -> str:
    return repr(name if len(name) <= QUOTED else f"{name[:QUOTED]}…")


Name = Annotated[str, AfterValidator(check_name)]  # of a run, a sweep
SplitName = Annotated[str, AfterValidator(split_name)]
