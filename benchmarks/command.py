"""A command in a process of its own, as a user runs it: what it prints, and what a training reports."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ms2sl.tracking.outbox import METRICS, Outbox

LIMIT = 420.0  # seconds, after which a command hangs
BAR = re.compile(r"\d+%\|")
WAITING = re.compile(r"waiting since \S+ \(\d+ s\) for [^\]]*")


@dataclass(frozen=True)
class Moment:
    """When something happened. shown: letters that had been printed."""

    time: float
    shown: int


class Failed(Exception):
    """A command hangs, or ends as it should not."""


class Command:
    """The same command, again and again. log: where messages and the bar go; results go into a file beside it."""

    def __init__(self, arguments: Sequence[str], log: Path):
        self.arguments, self.log = [sys.executable, *arguments], log
        self.process: subprocess.Popen | None = None

    def start(self, **environment: str) -> None:
        with self.log.open("ab") as log, self.log.with_suffix(".out").open("ab") as results:
            variables = os.environ | {"PYTHONUNBUFFERED": "1"} | environment
            self.process = subprocess.Popen(self.arguments, stdout=results, stderr=log, env=variables, start_new_session=True)

    def now(self) -> Moment:
        return Moment(time.time(), len(self.printed()))

    def until(self, condition: Callable[[], bool]) -> None:
        over = time.monotonic() + LIMIT
        while not condition():
            if self.process.poll() is not None or time.monotonic() > over:
                raise Failed(f"{self.arguments} has ended with {self.process.poll()}:\n{self.printed()[-3000:]}")
            time.sleep(0.05)

    def wait(self) -> int:
        """The status with which it ends."""
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.arguments} does not end:\n{self.printed()[-3000:]}") from None

    def ending(self, since: float) -> str:
        """How it ends, and how long after that time."""
        return f"ends with {self.wait()} after {time.time() - since:.0f} s"

    def finish(self) -> None:
        """Waits for its end, without an error."""
        if status := self.wait():
            raise Failed(f"{self.arguments} has ended with {status}:\n{self.printed()[-3000:]}")

    def signal(self, number: int) -> None:
        """To all of its processes, as a terminal does."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def printed(self) -> str:
        return self.log.read_bytes().decode(errors="replace") if self.log.exists() else ""

    def said(self, since: Moment) -> list[str]:
        """Each line that was printed since then, and of the bar the first word of a wait."""
        shown, waits = {}, False
        for line in re.split(r"[\r\n]+", self.printed()[since.shown :]):
            if BAR.search(line):
                found = None if waits else WAITING.search(line)
                waits, line = waits or found is not None, found[0] if found else ""
            if line.strip():
                shown[line.strip()] = None
        return list(shown)


@dataclass(frozen=True)
class ReportedMoment(Moment):
    """reports: how many there had been."""

    reports: int


class Training(Command):
    """reports: time and step of all that it has reported to its outbox."""

    def __init__(self, arguments: Sequence[str], log: Path, outbox: Path):
        super().__init__(arguments, log)
        self.outbox = Outbox(outbox)
        self.reports: list[tuple[float, int]] = []

    def start(self, **environment: str) -> None:
        super().start(**environment)
        threading.Thread(target=self._follow, args=(self.process, self.outbox.end), daemon=True).start()

    def _follow(self, process: subprocess.Popen, read: int) -> None:
        while process.poll() is None:
            for entry, end in self.outbox.read(read):
                read = end
                if entry["operation"] == METRICS:
                    self.reports.append((entry["milliseconds"] / 1000, entry["step"]))
            time.sleep(0.05)

    def now(self) -> ReportedMoment:
        moment = super().now()
        return ReportedMoment(moment.time, moment.shown, len(self.reports))

    def reaches(self, step: int, since: int = 0) -> None:
        """Waits until it is reported, not counting so many reports."""
        self.until(lambda: any(reported >= step for _, reported in self.reports[since:]))

    def cost(self, since: ReportedMoment) -> tuple[int, float]:
        """Steps that were made twice, and seconds from then to the report with which it went on: that of a step that was made before,
        or else the next one."""
        ahead = self.reports[max(0, since.reports - 1) :]
        again = next(((before[1], report) for before, report in pairwise(ahead) if report[1] <= before[1]), None)
        if again is None:
            return 0, next(when for when, _ in ahead[1:]) - since.time
        furthest, (when, step) = again
        every = self.reports[0][1]
        return furthest - (step - every), when - since.time
