"""What goes wrong around a report."""

import errno
import os

import pytest
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from jobs.ray_reporter import brief, full_disk_told
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath


def test_a_full_disk_is_told_in_a_line(tmp_path):
    said = rf"a checkpoint cannot be written \(No space left on device\): make room in {tmp_path}, and on"
    with pytest.raises(InputError, match=said), full_disk_told(StoragePath(tmp_path)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), full_disk_told(StoragePath(tmp_path)):
        (tmp_path / "nothing").read_bytes()


def test_of_a_worker_that_does_not_answer_it_is_told_why():
    failure = WorkerHealthCheckFailedError("A worker health check failed.", failure=OSError("it was killed\nat noon"))
    assert brief(failure) == "OSError: it was killed"
