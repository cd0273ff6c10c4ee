"""Which workers a training asks Ray Train for, where, and how long it waits for them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ray.train

from jobs.worker_range import for_ray

if TYPE_CHECKING:
    from jobs.train import TrainCommand

GROWTH = 600.0  # seconds between looks for machines that joined: to take one in goes back to the last checkpoint
STALE = 5  # seconds for which workers are waited for that Ray Train wants on a machine that is gone, with a range of workers
START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


@contextmanager
def waiting_for_workers(workers: int | str) -> Iterator[None]:
    """With a range of workers, those on a machine that is gone are not waited for long; what the environment says comes first."""
    known = START_TIMEOUT in os.environ
    if isinstance(workers, str):
        os.environ.setdefault(START_TIMEOUT, str(STALE))
    try:
        yield
    finally:
        if not known:
            os.environ.pop(START_TIMEOUT, None)


def scaling(options: "TrainCommand", cpus: int | None = None) -> ray.train.ScalingConfig:
    """Which workers there are, and where. cpus: those that each takes, if not as the options say."""
    cpus = cpus or options.cpus_per_worker
    return ray.train.ScalingConfig(
        num_workers=for_ray(options.workers),
        use_gpu=options.gpu,
        accelerator_type=options.accelerator,
        resources_per_worker={"CPU": cpus} if cpus else None,
        placement_strategy=options.placement.upper(),
        elastic_resize_monitor_interval_s=GROWTH,
    )
