"""What a trial takes of the cluster, and how many fit."""

import ray
from ray import tune

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
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(min(_fitting(machine.get(kind, 0), amount) for kind, amount in wanted.items()) for machine in machines)
    if room < workers:
        what = " and ".join(f"{amount:g} {kind}s" for kind, amount in wanted.items())
        if workers > 1:
            what, there = f"{workers} workers of {what} each", f"the machines of the cluster have room for {room}"
        else:
            most = " and ".join(f"{max(machine.get(kind, 0) for machine in machines):g}" for kind in wanted)
            there = f"one machine of the cluster has at most {most}"
        raise InputError(f"a trial needs {what}, but {there}: lower --cpus-per-trial, --gpus-per-trial or --workers-per-trial")
    return min(room // workers, options.concurrent or room)


def _fitting(there: float, amount: float) -> int:
    """How often an amount fits; a share of a GPU must lie on one."""
    return int(there) * int(1 / amount) if amount < 1 else int(there / amount)
