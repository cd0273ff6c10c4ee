"""A progress bar in the driver for work that goes on in a worker, on whatever machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from tqdm import tqdm

from jobs.waiting import watch

INTERVAL = 0.5  # seconds


@ray.remote(num_cpus=0)
class Progress:
    """How far a run is: a number of steps and a remark."""

    def __init__(self):
        self.state = (0, "")

    def set(self, done: int, remark: str) -> None:
        self.state = (done, remark)

    def get(self) -> tuple[int, str]:
        return self.state


@contextmanager
def shown(progress, total: int, title: str, unit: str) -> Iterator[None]:
    """Shows a bar with rate and ETA while the context lasts."""
    over = threading.Event()
    # The rate counts from the first report: what was done before, a resumed run did not do now.
    bar = tqdm(total=total, desc=title, unit=unit)
    watch(bar)

    def follow() -> None:
        while not over.wait(INTERVAL):
            refresh()

    def refresh() -> None:
        done, remark = ray.get(progress.get.remote())
        if done == bar.n:
            return
        if not bar.n:
            bar.unpause()
            bar.initial = done
        bar.set_postfix_str(remark, refresh=False)
        bar.update(done - bar.n)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
        over.set()
        thread.join()
        refresh()
    finally:
        over.set()
        bar.close()
