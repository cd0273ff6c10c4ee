"""Keypoints of films before they are prepared, one film a task, so that progress is seen and what was found is kept film by film."""

import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.util import ActorPool
from tqdm import tqdm

from jobs.waiting import watch
from ms2sl.errors import InputError
from ms2sl.video.mediapipe_environment import NoDetector


class Looker:
    """Finds keypoints for a corpus of films (``ms2sl.corpora.films``)."""

    def __init__(self, corpus: Any):
        self.corpus = corpus

    def look(self, index: int) -> tuple[int, bool, str]:
        """Pictures that were looked at, whether the film could be read (why not is said when the clip is prepared), and why no film can be
        looked at on this machine, if so."""
        try:
            return self.corpus.detect(index), True, ""
        except NoDetector as error:
            return 0, False, f"{ray.util.get_node_ip_address()}: {error}"
        except InputError:
            return 0, False, ""


def find_keypoints(corpus: Any, indices: Sequence[int], workers: int) -> None:
    """Of clips by their numbers, unless they are kept already. Raises InputError where no detector can run."""
    workers = max(1, min(workers, len(indices), int(ray.cluster_resources().get("CPU", 1))))
    with tqdm(total=len(indices), desc="keypoints", unit="film") as bar:
        watch(bar)
        if corpus.must_install:
            bar.set_postfix_str("installing MediaPipe where it is needed, once")
        pool = ActorPool([ray.remote(num_cpus=1)(Looker).remote(corpus) for _ in range(workers)])
        began, pictures, unread = time.monotonic(), 0, 0
        for looked, good, problem in pool.map_unordered(lambda looker, index: looker.look.remote(index), indices):
            if problem:
                raise InputError(problem)
            pictures, unread = pictures + looked, unread + (not good)
            told = f"{pictures / (time.monotonic() - began):.0f} frames/s" + f", {unread} unreadable" * (unread > 0)
            bar.set_postfix_str(told, refresh=False)
            bar.update()
