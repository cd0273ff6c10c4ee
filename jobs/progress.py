"""A progress bar in the driver for work that goes on elsewhere. It follows what is reported and decides nothing."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from jobs.repeating import every
from jobs.waiting import watch
from ms2sl.tracking.outbox import METRICS, Outbox

log = logging.getLogger(__name__)

INTERVAL = 0.5  # seconds


class Bar:
    """A bar with rate and ETA over the reports that an outbox gets from now on. No method raises."""

    def __init__(self, outbox: Outbox, total: int, title: str, unit: str):
        self.outbox, self.read = outbox, outbox.end
        self.bar: tqdm | None = None
        with self.quiet():
            # The rate counts from the first report: what was done before, a resumed run did not do now.
            self.bar = tqdm(total=total, desc=title, unit=unit)
            watch(self.bar)

    def refresh(self) -> None:
        with self.quiet():
            reports = [entry for entry, self.read in self.outbox.read(self.read) if entry["operation"] == METRICS]
            if reports:
                self._show(reports[-1]["step"], reports[-1]["values"])

    def close(self) -> None:
        with self.quiet():
            if self.bar is not None:
                self.bar.close()

    def _show(self, done: int, values: dict[str, float]) -> None:
        if not self.bar.n:
            self.bar.unpause()
            self.bar.initial = done
        elif done < self.bar.n:
            again = f"{self.bar.desc}: it goes on from its last checkpoint, before {self.bar.unit} {done} again"
            self.bar.write(f"{again} ({self.bar.n} had been reported): a worker failed or was lost, or one joined", file=sys.stderr)
        self.bar.set_postfix_str(f"loss {values['loss']:.3f}, {values['frames_per_second']:.0f} frames/s", refresh=False)
        self.bar.update(done - self.bar.n)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """The terminal may be gone, or the disk."""
        try:
            yield
        except Exception:
            log.debug("progress is not shown", exc_info=True)


@contextmanager
def shown(outbox: Outbox, total: int, title: str, unit: str) -> Iterator[None]:
    """Shows a bar while the context lasts."""
    bar = Bar(outbox, total, title, unit)
    try:
        with every(INTERVAL, bar.refresh):
            yield
    finally:
        bar.refresh()
        bar.close()
