"""What a trial takes of the cluster, and how many fit."""

from ray import tune

from jobs.machines import machines, room, told
from jobs.sweep.command import TuneCommand
from ms2sl.errors import InputError

# Tune reserves something for every trial; the function that waits for the workers of a trial needs nothing: one byte.
WAITING = {"memory": 1}


def needs(options: TuneCommand) -> dict[str, float]:
    """What must lie on one machine: the resources of a trial or, where it has several workers, of each of them."""
    gpus = options.gpus_per_trial if options.workers_per_trial == 1 else options.gpus_per_trial > 0
    return {"CPU": options.cpus_per_trial} | ({"GPU": gpus} if gpus else {})


def reserved(options: TuneCommand) -> tune.PlacementGroupFactory:
    """What Tune itself reserves for a trial; workers of several reserve their own."""
    return tune.PlacementGroupFactory([needs(options) if options.workers_per_trial == 1 else WAITING])


def concurrency(options: TuneCommand) -> int:
    """Trials at a time. Raises InputError if not even one fits, which would otherwise wait for ever."""
    wanted, workers = needs(options), options.workers_per_trial
    fitting = room(wanted)
    if fitting < workers:
        what = told(wanted)
        if workers > 1:
            what, there = f"{workers} workers of {what} each", f"the machines of the cluster have room for {fitting}"
        else:
            most = " and ".join(f"{max(machine.get(kind, 0) for machine in machines()):g}" for kind in wanted)
            there = f"one machine of the cluster has at most {most}"
        raise InputError(f"a trial needs {what}, but {there}: lower --cpus-per-trial, --gpus-per-trial or --workers-per-trial")
    return min(fitting // workers, options.concurrent or fitting)
