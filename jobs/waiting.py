"""Says in a bar what a job waits for while the cluster has no room for it, and above it that the head of the cluster is away: a bar that
stands still tells nobody why, and Ray ends a job without its head, within about a minute, without a word."""

import sys
import threading
import time
from collections import Counter

import ray
from ray.autoscaler.v2.sdk import get_cluster_status
from tqdm import tqdm

from jobs.cli import reach

Workers = tuple[int, dict[str, float]]  # how many, and what each of them takes

STILL = 10.0  # seconds without progress after which the cluster is asked ...
INTERVAL = 2.0  # ... so often
SILENT = 3  # times that a head does not answer, one after another, before it is said
AWAY = (
    "the head of the cluster does not answer: if it is away for a minute, this command ends; once `ray status` answers, run the same "
    "command again to go on"
)
BACK = "the head of the cluster answers again"


def watch(bar: tqdm, least: Workers | None = None) -> None:
    """Until the bar is closed, its postfix says for what the cluster has no room, since when, and what is free; lines above it, that the
    head of the cluster does not answer, and that it does again. least: workers for which Ray Train may wait without a word to Ray."""
    threading.Thread(target=_follow, args=(bar, least), daemon=True).start()
    threading.Thread(target=_follow_head, args=(bar,), daemon=True).start()


def _follow(bar: tqdm, least: Workers | None) -> None:
    """A bar that is closed is disabled."""
    done, moved, before = bar.n, time.time(), None
    while not bar.disable:
        time.sleep(INTERVAL)
        if bar.n != done:
            done, moved = bar.n, time.time()
        lacking = wanting(least) if time.time() - moved >= STILL and ray.is_initialized() else ""  # else Ray would join whatever runs here
        if bar.disable:
            return
        if lacking:
            before = bar.postfix if before is None else before
            since = time.strftime("%H:%M", time.localtime(moved))
            bar.set_postfix_str(f"waiting since {since} ({time.time() - moved:.0f} s) for {lacking}")
        elif before is not None:
            if "waiting since" in (bar.postfix or ""):  # and nobody else has said something since
                bar.set_postfix_str(before or "")
            before = None


def _follow_head(bar: tqdm) -> None:
    silent = 0
    while not bar.disable:
        time.sleep(INTERVAL)
        if not ray.is_initialized() or answers():
            if silent >= SILENT:
                tqdm.write(BACK, file=sys.stderr)
            silent = 0
        else:
            silent += 1
            if silent == SILENT:
                tqdm.write(AWAY, file=sys.stderr)


def answers() -> bool:
    """Whether the head of the cluster can be reached, as far as Ray says where it is."""
    try:
        address = ray.get_runtime_context().gcs_address
    except Exception:  # of a client, or while Ray ends
        return True
    try:
        reach(address, timeout=INTERVAL)
    except OSError:
        return False
    return True


def wanting(least: Workers | None = None) -> str:
    """What Ray has been asked for and has no room for, and what is free; "" if that is nothing, or Ray does not say.

    For example ``2 x 1 CPU; free: 1 of 4 CPUs``. least: what is waited for where this driver has nothing reserved; of a range of workers
    Ray Train reserves nothing before there is room for the fewest.
    """
    try:
        demand = get_cluster_status(ray.get_runtime_context().gcs_address, timeout=5).resource_demands
        there, free = ray.cluster_resources(), ray.available_resources()
        own, groups = ray.get_runtime_context().get_job_id(), ray.util.placement_group_table().values()
        reserved = any(group["placement_group_id"].endswith(own) and group["state"] == "CREATED" for group in groups)
    except Exception:  # whatever it is, work goes on
        return ""
    waiting: Counter[tuple] = Counter()
    for group in [*demand.placement_group_demand, *demand.ray_task_actor_demand]:
        for request in group.bundles_by_count:
            # Within what a training has reserved, and beside CPUs and GPUs, names are for Ray alone.
            asked = {kind: amount for kind, amount in request.bundle.items() if amount and ":" not in kind and "_group_" not in kind}
            waiting[tuple(sorted(asked.items()))] += request.count if asked else 0
    shapes = [(dict(shape), count) for shape, count in waiting.items() if count]
    if not shapes and least and not reserved:
        shapes = [(least[1], least[0])]
    if not shapes:
        return ""
    kinds = dict.fromkeys(kind for shape, _ in shapes for kind in shape if kind in ("CPU", "GPU")) or ["CPU"]
    lacking = ", ".join(f"{count} x " + " + ".join(f"{amount:g} {kind}" for kind, amount in shape.items()) for shape, count in shapes)
    return f"{lacking}; free: " + ", ".join(f"{free.get(kind, 0):g} of {there.get(kind, 0):g} {kind}s" for kind in kinds)
