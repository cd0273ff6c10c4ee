"""What the machines of the cluster have room for."""

from collections.abc import Mapping

import ray

from jobs.autoscaling import autoscales
from ms2sl.errors import InputError

ACCELERATOR = "accelerator_type:"  # before the kind of a GPU, among Ray's resources


def machines() -> list[dict[str, float]]:
    """The resources of each that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def room(wanted: Mapping[str, float]) -> int:
    """How many processes that take so much each find place, of those machines together; each lies on one."""
    return sum(min(_fitting(machine.get(kind, 0), amount) for kind, amount in wanted.items()) for machine in machines())


def _fitting(there: float, amount: float) -> int:
    """How often an amount fits; a share of a GPU must lie on one."""
    return int(there) * int(1 / amount) if amount < 1 else int(there / amount)


def told(wanted: Mapping[str, float]) -> str:
    """For example ``3 CPUs and 1 GPUs``."""
    return " and ".join(f"{amount:g} {kind}s" for kind, amount in wanted.items())


def check_resources(workers: int, cpus: float = 1, gpus: float = 0, accelerator: str | None = None, apart: bool = False) -> None:
    """Raises InputError if the cluster can never run the workers, which would otherwise wait for ever; one that autoscales may grow.

    cpus, gpus: what each of them takes. accelerator: the kind of GPU, as Ray names it. apart: whether what a worker takes may lie on
    several machines.
    """
    wanted = {kind: each for kind, each in (("CPU", cpus), ("GPU", gpus)) if each}
    lacking = _lacking(workers, wanted, accelerator, apart)
    if lacking and not autoscales():
        raise InputError(lacking)


def _lacking(workers: int, wanted: Mapping[str, float], accelerator: str | None, apart: bool) -> str:
    there = ray.cluster_resources()
    for kind, each in wanted.items():
        needed, available = workers * each, there.get(kind, 0)
        if available < needed:
            lacking = f"{workers} workers need {needed:g} {kind}s, but the cluster has {available:g} {kind}s and does not autoscale"
            return f"{lacking}: {'lower --workers' if available >= each else f'add a node that has {kind}s'}"
    if wanted and not apart and room(wanted) < workers:
        lacking = (
            f"{workers} workers take {told(wanted)} each, of one machine, but the machines of the cluster have room for {room(wanted)}"
        )
        return f"{lacking} and it does not autoscale: lower --workers, or what each of them takes"
    kinds = [name.removeprefix(ACCELERATOR) for name in there if name.startswith(ACCELERATOR)]
    if accelerator and accelerator not in kinds:
        has = f"it has {', '.join(sorted(kinds))}" if kinds else "it names no kind of GPU"
        return f"the cluster has no {accelerator} and does not autoscale; {has}"
    return ""
