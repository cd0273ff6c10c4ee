"""The Reporter of Ray Train, and the callback that writes reports down for the driver."""

import errno
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ray.train
import ray.train.torch
from ray.train import CheckpointUploadMode

from jobs.cli import user_error
from jobs.progress import FAILURE
from ms2sl.errors import InputError
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.tracking.outbox import Outbox

log = logging.getLogger(__name__)

LONGEST = 300  # letters of a failure


def fetch_checkpoint(checkpoint: ray.train.Checkpoint | None, start: AnyPath | None, until: ExitStack) -> Path | None:
    """The checkpoint to go on from, or ``start`` where there is none, as a folder of this machine; None if there is neither."""
    if checkpoint is None:
        return None if start is None else until.enter_context(StoragePath(start).reading())
    return Path(checkpoint.to_directory(until.enter_context(tempfile.TemporaryDirectory(prefix="ms2sl-"))))


@contextmanager
def full_disk_told(folder: StoragePath) -> Iterator[None]:
    """Raises InputError where a checkpoint of this run finds no room on a disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        places = f"{folder}, and on each machine in {tempfile.gettempdir()}"
        raise InputError(f"a checkpoint cannot be written ({os.strerror(error.errno)}): make room in {places}") from error


class RayReporter:
    """A worker's side: rank, device, checkpoints and reports of Ray Train.

    start: a checkpoint to go on from where the run has none of its own. beside: whether checkpoints are uploaded while training goes on,
    for a run in a store: if a worker is lost meanwhile, that one is, too.
    """

    def __init__(self, start: AnyPath | None = None, beside: bool = False):
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self.start, self.beside, self._noticed = start, beside, None
        self._copies = ExitStack()  # live as long as the reporter

    def latest(self) -> Path | None:
        return fetch_checkpoint(ray.train.get_checkpoint(), self.start, self._copies)

    def preempted(self) -> bool:
        before, self._noticed = self._noticed, ray.train.get_preemption_info()
        return self._noticed not in (None, before)

    def report(self, step: int, metrics: dict[str, float], checkpoint: Path | None, urgent: bool) -> None:
        mode = CheckpointUploadMode.ASYNC if self.beside and not urgent else CheckpointUploadMode.SYNC
        if checkpoint and mode == CheckpointUploadMode.ASYNC:  # which deletes it when it is uploaded
            checkpoint = checkpoint.rename(tempfile.mkdtemp(prefix="ms2sl-"))
        saved = ray.train.Checkpoint.from_directory(checkpoint) if checkpoint else None
        name = f"step-{step:08d}"
        ray.train.report(metrics | {"step": step}, checkpoint=saved, checkpoint_dir_name=name, checkpoint_upload_mode=mode)


class WriteReports(ray.train.UserCallback):
    """Runs in Ray Train's controller, which shares the driver's machine: the driver shows reports and failures and sends them to MLflow.

    What is raised here would end the training.
    """

    def __init__(self, outbox: Outbox):
        self.outbox = outbox

    def after_report(self, run_context, metrics: list[dict], checkpoint) -> None:
        values = dict(metrics[0])
        try:
            self.outbox.add_metrics(values, values.pop("step"))
        except Exception:  # a full disk, most likely
            log.exception("a report was not written to %s", self.outbox.path)

    def after_exception(self, run_context, worker_exceptions: dict[int, Exception]) -> None:
        rank, error = next(iter(worker_exceptions.items()))
        try:
            self.outbox.add("tags", values={FAILURE: f"rank {rank}: {user_error(error) or brief(error)}"})
        except Exception:
            log.exception("a failure was not written to %s", self.outbox.path)


def brief(error: Exception) -> str:
    """Its kind and its first line; of a worker that does not answer, why."""
    error = getattr(error, "health_check_failure", error)
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:LONGEST]
