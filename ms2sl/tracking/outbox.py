"""A file of what a job reports: written by whichever process knows it, read by those who show it and send it to MLflow."""

import json
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ms2sl.config import flatten
from ms2sl.io.atomic import atomic_write
from ms2sl.io.uri import public

METRICS = "metrics"


class Outbox:
    """Operations, oldest first, a line of JSON each, and in a file beside it how far they have been sent.

    It needs no server and no other process, so reports are kept while MLflow is away and outlive the process that made them.
    A new one begins where an earlier one of the same path has ended.

    path: by default a temporary file, which is deleted with this object.
    """

    def __init__(self, path: Path | None = None):
        self._folder = None if path else tempfile.TemporaryDirectory(prefix="ms2sl-outbox-")
        self.path = Path(path or f"{self._folder.name}/outbox.jsonl")

    @property
    def kept(self) -> bool:
        """Whether it outlives this process."""
        return self._folder is None

    def add(self, operation: str, **arguments: Any) -> None:
        """Arguments are plain data; credentials in their URIs are left out. Raises OSError where the file cannot be written."""
        line = json.dumps({"operation": operation, **_public(arguments)}, default=str).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab+", buffering=0) as file:  # a line is one write, so that those of several processes do not mix
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":  # a full disk has cut the last line
                line = b"\n" + line
            file.write(line)

    def add_metrics(self, values: Mapping[str, Any], step: int) -> None:
        """Those of the values that are finite numbers (scalar arrays and tensors too), with the time of now.

        Raises OSError where the file cannot be written.
        """
        found = {accepted(key): _number(value) for key, value in flatten(values)}
        numbers = {key: number for key, number in found.items() if number is not None}
        if numbers:
            self.add(METRICS, values=numbers, step=int(step), milliseconds=int(time.time() * 1000))

    def read(self, start: int) -> Iterator[tuple[dict, int]]:
        """Operations from this byte on, and the byte where each ends; a line that a full disk has cut is passed over."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    return
                start += len(line)
                try:
                    yield json.loads(line), start
                except ValueError:
                    continue

    @property
    def end(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def sent(self) -> int:
        """The byte up to which MLflow has been told."""
        try:
            end = int(self._mark.read_text())
        except (OSError, ValueError):
            return 0
        return end if end <= self.end else 0  # of a file that was deleted

    @sent.setter
    def sent(self, end: int) -> None:
        with atomic_write(self._mark) as temporary:
            temporary.write_text(str(end))

    def delete(self) -> None:
        for path in (self._mark, self.path):  # a mark without its file would be that of a later one
            path.unlink(missing_ok=True)

    @property
    def _mark(self) -> Path:
        return self.path.with_suffix(".sent")

    def __reduce__(self):
        return Outbox, (self.path if self.kept else None,)


def _public(value: Any) -> Any:
    """Nested data with every text in it without credentials: what an earlier version wrote may have some."""
    if isinstance(value, Mapping):
        return {key: _public(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_public(inner) for inner in value]
    return public(value) if isinstance(value, str) else value


def accepted(key: str) -> str:
    """A name that MLflow accepts (``R@5`` becomes ``R_5``), since one that it refuses would take the whole batch with it; to MLflow it is a
    path, of which no part may be empty or dots alone."""
    return "/".join(part if part.strip(".") else "_" for part in re.sub(r"[^\w./: -]", "_", key)[:250].split("/"))


def _number(value: Any) -> float | None:
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return number if math.isfinite(number) else None
