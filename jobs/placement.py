"""Which workers a training asks Ray Train for, where, and how long it waits for them."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import ray.train
from ray.actor import ActorHandle
from ray.train.torch import TorchTrainer

from jobs.worker_range import fewest, for_ray

if TYPE_CHECKING:
    from jobs.train import TrainCommand

GROWTH = 600.0  # seconds between looks for machines that joined: to take one in goes back to the last checkpoint
STALE = 5  # seconds for which workers are waited for that Ray Train wants on a machine that is gone, with a range of workers
GRACE = 10.0  # seconds that a training has to stop its workers
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


def least(options: "TrainCommand") -> tuple[int, dict[str, float]]:
    """The fewest workers with which a training begins, and what each of them takes."""
    taken = {"CPU": options.cpus_per_worker or (0 if options.gpu else 1), "GPU": 1 if options.gpu else 0}
    return fewest(options.workers), {kind: amount for kind, amount in taken.items() if amount}


class Interruptible(TorchTrainer):
    """One that Ctrl-C ends soon. Ray's controller hears of it between one look at its workers and the next, and while there are fewer than
    the fewest, it does not look and never hears."""

    def _register_sigint_handler(self, controller: ActorHandle) -> None:
        def stop(*_: object) -> None:
            with suppress(ray.exceptions.RayActorError):
                try:
                    ray.get(controller.abort.remote(), timeout=GRACE)
                except ray.exceptions.GetTimeoutError:
                    ray.kill(controller)
            sys.exit(0)

        signal.signal(signal.SIGINT, stop)
