"""Keypoints of films before they are prepared, one film a task, so that progress is seen and what was found is kept film by film."""

import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.util import ActorPool
from tqdm import tqdm

from jobs.waiting import watch
from ms2sl.errors import InputError


@ray.remote(num_cpus=1)
class Looker:
    """Finds keypoints for a corpus of films (``ms2sl.corpora.films``)."""

    def __init__(self, corpus: Any):
        self.corpus = corpus

    def ready(self) -> str | None:
        """Why it cannot work on its machine, if so."""
        try:
            self.corpus.make_ready(lambda line: None)
        except InputError as error:
            return f"{ray.util.get_node_ip_address()}: {error}"
        return None

    def look(self, index: int) -> tuple[int, bool]:
        """Pictures that were looked at, and whether the film could be read; why not is said when the clip is prepared."""
        try:
            return self.corpus.detect(index), True
        except InputError:
            return 0, False


def find_keypoints(corpus: Any, indices: Sequence[int], workers: int) -> None:
    """Of clips by their numbers, unless they are kept already. Raises InputError where no detector can run."""
    with tqdm(total=len(indices), desc="keypoints", unit="film") as bar:
        watch(bar)
        corpus.make_ready(bar.write)
        lookers = [Looker.remote(corpus) for _ in range(min(workers, len(indices)))]
        if problem := next(filter(None, ray.get([looker.ready.remote() for looker in lookers])), None):
            raise InputError(problem)
        began, pictures, unread = time.monotonic(), 0, 0
        for looked, good in ActorPool(lookers).map_unordered(lambda looker, index: looker.look.remote(index), indices):
            pictures, unread = pictures + looked, unread + (not good)
            told = f"{pictures / (time.monotonic() - began):.0f} frames/s" + f", {unread} unreadable" * (unread > 0)
            bar.set_postfix_str(told, refresh=False)
            bar.update()
