"""A progress bar in the driver for work that goes on elsewhere. It follows what is reported and decides nothing."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from jobs.repeating import every
from jobs.waiting import Workers, watch
from ms2sl.tracking.outbox import METRICS, Outbox

log = logging.getLogger(__name__)

INTERVAL = 0.5  # seconds
FAILURE = "ms2sl.failure"  # a tag: why a worker failed last


class Bar:
    """A bar with rate and ETA over the reports that an outbox gets from now on. No method raises."""

    def __init__(self, outbox: Outbox, total: int, title: str, unit: str, least: Workers | None = None):
        self.outbox, self.read = outbox, outbox.end
        self.bar: tqdm | None = None
        with self.quiet():
            # The rate counts from the first report: what was done before, a resumed run did not do now.
            self.bar = tqdm(total=total, desc=title, unit=unit)
            watch(self.bar, least)

    def refresh(self) -> None:
        with self.quiet():
            for entry, end in self.outbox.read(self.read):
                self.read = end
                if entry["operation"] == METRICS:
                    self._show(entry["step"], entry["values"])
                elif FAILURE in entry.get("values", ()):
                    self._say(f"a worker failed, {entry['values'][FAILURE]}")

    def close(self) -> None:
        with self.quiet():
            if self.bar is not None:
                self.bar.close()

    def _show(self, done: int, values: dict[str, float]) -> None:
        if not self.bar.n:
            self.bar.unpause()
            self.bar.initial = done
        elif done <= self.bar.n:
            self._say(f"it goes on from its last checkpoint, before {self.bar.unit} {done} again ({self.bar.n} had been reported)")
        self.bar.set_postfix_str(f"loss {values['loss']:.3f}, {values['frames_per_second']:.0f} frames/s", refresh=False)
        self.bar.update(done - self.bar.n)

    def _say(self, what: str) -> None:
        self.bar.write(f"{self.bar.desc}: {what}", file=sys.stderr)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """The terminal may be gone, or the disk."""
        try:
            yield
        except Exception:
            log.debug("progress is not shown", exc_info=True)


@contextmanager
def shown(outbox: Outbox, total: int, title: str, unit: str, least: Workers | None = None) -> Iterator[None]:
    """Shows a bar while the context lasts. least: workers without which nothing begins."""
    bar = Bar(outbox, total, title, unit, least)
    try:
        with every(INTERVAL, bar.refresh):
            yield
    finally:
        bar.refresh()
        bar.close()
