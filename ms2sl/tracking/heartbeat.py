"""Signs of life of the drivers of MLflow runs, and the end of those runs whose driver is gone.

A driver that is killed cannot end its run, which would seem to go on for ever. So each keeps two tags on its runs, and whoever
works on the same tracking store next ends those that nobody drives any more.
"""

import logging
import os
import platform
import time
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

INTERVAL = 60.0  # seconds between two signs of life
GONE = 900.0  # seconds without one after which a driver on another machine is taken for dead; the clocks may differ by some minutes
DRIVER = "ms2sl.driver"  # tag: where the run's driver is: machine, process, and when that began
ALIVE = "ms2sl.alive"  # tag: when it last gave a sign of life, in seconds since 1970
ENDED = "ms2sl.ended"  # tag of a run that another command has ended: why


def signs_of_life() -> dict[str, str]:
    """The tags of a run that this process drives, as of now."""
    return {DRIVER: f"{_machine()} {os.getpid()} {_began(os.getpid())}", ALIVE: f"{time.time():.0f}"}


def drive(client: Any, run_id: str) -> None:
    """Gives a sign of life on a run, which goes on if it had ended."""
    for key, value in signs_of_life().items():
        client.set_tag(run_id, key, value)
    run = client.get_run(run_id)
    if run.info.status != "RUNNING":
        client.update_run(run_id, status="RUNNING")
    if ENDED in run.data.tags:
        client.delete_tag(run_id, ENDED)


def end_abandoned(client: Any, own: str) -> None:
    """Ends all runs of this tracking store whose driver is gone, as KILLED and at their last sign of life; a tag says why.

    own: id of a run to leave alone. A run without signs of life is left alone too: it is not ours, or of before there were any.
    A driver that was only cut off for so long makes its run RUNNING again as soon as it reaches MLflow.
    """
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    for run in client.search_runs(experiments, f"attributes.status = 'RUNNING' and tags.`{ALIVE}` LIKE '%'", max_results=1000):
        seen, driver = float(run.data.tags[ALIVE]), run.data.tags.get(DRIVER, "")
        if run.info.run_id == own or not (cause := _gone(driver, seen)):
            continue
        client.set_tag(run.info.run_id, ENDED, cause)
        client.set_terminated(run.info.run_id, "KILLED", end_time=int(1000 * seen))
        log.warning("run %s in MLflow was ended: %s", run.info.run_name, cause)


def _gone(driver: str, seen: float) -> str:
    """Why a driver is surely gone, or nothing."""
    machine, pid, began, *_ = [*driver.split(" "), "", "", ""]
    if machine == _machine() and began:  # here its process can be looked for
        return "" if _began(pid) == began else f"its driver, process {pid} of {platform.node()}, was killed"
    if time.time() - seen > GONE:
        return f"no sign of life of its driver on {machine.partition('/')[0]} for {(time.time() - seen) / 60:.0f} minutes"
    return ""


def _machine() -> str:
    """This machine and its processes: containers may share a name or a kernel, and see other processes."""
    return "/".join([platform.node(), _read("/proc/sys/kernel/random/boot_id"), _link("/proc/self/ns/pid")])


def _began(pid: object) -> str:
    """When a process began, in ticks since the machine did, since its number may name another by now; nothing if it has ended."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if fields and fields[0] not in "ZX" else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
