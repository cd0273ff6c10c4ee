"""What a trial takes of the cluster, and how many fit."""

import ray
from ray import tune

from jobs.streaming import READERS
from jobs.sweep.command import TuneCommand
from ms2sl.errors import InputError

DRIVER = 0.01  # CPUs of the function that waits for the workers of its trial
READING = 0.25 * READERS  # CPUs with which Ray Data reads for a worker


def needs(options: TuneCommand) -> dict[str, float]:
    """Resources of a trial, workers and all."""
    if options.workers_per_trial == 1:
        return {"CPU": options.cpus_per_trial, "GPU": options.gpus_per_trial}
    gpus = options.workers_per_trial if options.gpus_per_trial else 0
    return {"CPU": DRIVER + options.workers_per_trial * (options.cpus_per_trial + READING), "GPU": gpus}


def reserved(options: TuneCommand) -> tune.PlacementGroupFactory:
    """What Tune itself reserves for a trial; workers of several reserve their own."""
    if options.workers_per_trial == 1:
        return tune.PlacementGroupFactory([{"CPU": options.cpus_per_trial, "GPU": options.gpus_per_trial}])
    return tune.PlacementGroupFactory([{"CPU": DRIVER}])


def concurrency(options: TuneCommand) -> int:
    """Trials at a time. Raises InputError if not even one fits, which would otherwise wait for ever.

    One machine must hold a trial; only workers of several may lie apart.
    """
    together = options.workers_per_trial > 1
    places = [ray.cluster_resources()] if together else [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {kind: amount for kind, amount in needs(options).items() if amount}
    fitting = sum(min(_fitting(place.get(kind, 0), amount) for kind, amount in wanted.items()) for place in places)
    if not fitting:
        what = " and ".join(f"{amount:g} {kind}s" for kind, amount in wanted.items())
        there = " and ".join(f"{max(place.get(kind, 0) for place in places):g}" for kind in wanted)
        where = "the cluster has" if together else "one machine of the cluster has at most"
        raise InputError(f"a trial needs {what}, but {where} {there}: lower --cpus-per-trial, --gpus-per-trial or --workers-per-trial")
    return min(fitting, options.concurrent or fitting)


def _fitting(there: float, amount: float) -> int:
    """How often an amount fits; a share of a GPU must lie on one."""
    return int(there) * int(1 / amount) if amount < 1 else int(there / amount)
