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
    """Trials at a time. Raises InputError if not even one fits, which would otherwise wait for ever."""
    there = ray.cluster_resources()
    wanted = {kind: amount for kind, amount in needs(options).items() if amount}
    for kind, amount in wanted.items():
        if there.get(kind, 0) < amount:
            raise InputError(
                f"a trial needs {amount:g} {kind}s, but the cluster has {there.get(kind, 0):g}: "
                f"lower --{kind.lower()}s-per-trial or --workers-per-trial"
            )
    fitting = min(int(there[kind] / amount + 1e-9) for kind, amount in wanted.items())
    return min(fitting, options.concurrent or fitting)
