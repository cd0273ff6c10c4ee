"""What preparing and training MS2SL takes at the size of How2Sign, YouTube-ASL, YouTube-SL-25 and a million hours, and what breaks first.

    python -m benchmarks.scale

Costs of an hour of signing are measured here and now (``scale_costs``), and indexing and planning are run at each size as they are in a job
(``scale_planning``). What cannot be measured here is an option, and stands in the tables as assumed. Two small corpora are prepared and
trained on to see how far what is foretold is from what happens (``scale_checks``).
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.common import machine, save_tables
from benchmarks.scale_checks import check
from benchmarks.scale_costs import Costs, measure
from benchmarks.scale_planning import SHARD_CLIPS, measured
from jobs.ray_dataloader import READERS
from ms2sl.data.dataset import READ_AHEAD

CORPORA = {"How2Sign": 80.0, "YouTube-ASL": 1_000.0, "YouTube-SL-25": 3_000.0, "a million hours": 1_000_000.0}  # hours
FILES_PER_CLIP = 2  # poses and a recording
LISTED = 1_000  # objects that a store names in an answer

# Options that stand for what cannot be measured here: name, value, and what it is taken from.
ASSUMED = {
    "clip-seconds": (8.0, "mean length of a clip in seconds; How2Sign has 80 hours in 35,000 clips"),
    "gpu-tflops": (989.0, "peak of a GPU in bf16, dense; NVIDIA's data sheet of the H100 SXM"),
    "mfu": (0.3, "share of that peak that training reaches; not measured, 0.3 to 0.5 are usual for transformers of this size"),
    "latency-ms": (20.0, "milliseconds of a small request to an object store; usual for S3 within a region"),
    "cpu-hour": (0.05, "price of a CPU an hour, in dollars; list prices on demand, general purpose"),
    "gpu-hour": (3.0, "price of a GPU an hour, in dollars; list prices of an H100 by the hour"),
    "gb-month": (0.023, "price of a GB a month in a store, in dollars; list price of S3 Standard"),
    "node-cpus": (16.0, "CPUs of a node"),
    "prepare-hours": (24.0, "hours in which the corpus is to be prepared"),
    "train-days": (7.0, "days in which training is to end"),
    "epochs": (100.0, "passes over the corpus"),
    "driver-gib": (16.0, "memory of a driver or a worker in GiB: more than this, and it breaks"),
    "start-minutes": (10.0, "minutes that a job may take before it works, or after: more than these, and it breaks"),
}


@dataclass(frozen=True)
class Limit:
    """What may break. hours: sizes at which it was measured; values: what it took there, in the unit of ``most``."""

    what: str
    unit: str
    most: float
    hours: Sequence[float]
    values: Sequence[float]

    def at(self, hours: float) -> tuple[float, bool]:
        """What it takes, and whether that was measured at no smaller a size; else it is drawn on as a line from what was."""
        return along(self.hours, self.values, hours), hours <= max(self.hours)

    @property
    def breaks(self) -> float:
        """Hours at which it takes ``most``."""
        rises = self.values[-1] > (self.values[0] if len(self.values) > 1 else 0)
        return along(self.values, self.hours, self.most) if rises else math.inf


def along(x: Sequence[float], y: Sequence[float], where: float) -> float:
    """y at ``where`` of the broken line through these points, which goes on beyond the last two, and from nothing to the first."""
    points = [(0.0, 0.0), *zip(x, y, strict=True)]
    after = next((i for i, (at, _) in enumerate(points) if at >= where), len(points) - 1)
    (x0, y0), (x1, y1) = points[max(after, 1) - 1], points[max(after, 1)]
    return y0 + (y1 - y0) * (where - x0) / (x1 - x0)


def plan(hours: float, costs: Costs, given: Mapping[str, float]) -> dict[str, str]:
    """What a corpus needs."""
    clips = clips_of(hours, given)
    shards = math.ceil(clips / SHARD_CLIPS)
    prepare = sum(costs.seconds[name] for name in ("import", "write", "CLIP", "HuBERT")) * hours / 3600
    without = sum(costs.seconds[name] for name in ("import", "write", "default features")) * hours / 3600
    stored = (costs.size["poses, speech, text"] + costs.size["CLIP, HuBERT"]) * hours
    learned, read = epoch_seconds(hours, costs, given)
    gpus = math.ceil(max(learned, read) * given["epochs"] / (given["train-days"] * 24 * 3600))
    gpu_hours = max(learned, read) * given["epochs"] / 3600
    return {
        "clips": f"{clips:,}",
        "files of the source": f"{FILES_PER_CLIP * clips:,}",
        "source": size(costs.size["source"] * hours),
        "shards": f"{shards:,}",
        "dataset, with CLIP and HuBERT": size(stored),
        "a shard": size(stored / hours * given["clip-seconds"] * SHARD_CLIPS / 3600),
        "prepare, CPU hours": figure(prepare),
        "without CLIP and HuBERT": figure(without),
        f"nodes to prepare in {given['prepare-hours']:g} hours": f"{math.ceil(prepare / given['prepare-hours'] / given['node-cpus']):,}",
        "an epoch learned by a GPU (assumed), hours": figure(learned / 3600),
        "an epoch read by a worker, hours": figure(read / 3600),
        f"GPUs for {given['epochs']:g} epochs in {given['train-days']:g} days": f"{gpus:,}",
        "GPU hours": figure(gpu_hours),
        "price: prepare": dollars(prepare * given["cpu-hour"]),
        "price: train": dollars(gpu_hours * given["gpu-hour"]),
        "price: keep source and dataset, a month": dollars((stored + costs.size["source"] * hours) / 1e9 * given["gb-month"]),
    }


def epoch_seconds(hours: float, costs: Costs, given: Mapping[str, float]) -> tuple[float, float]:
    """Of an epoch: what a GPU takes to learn from it, and what the tasks and the thread of a worker take to read it."""
    learned = costs.flops / (given["gpu-tflops"] * 1e12 * given["mfu"])
    read = max(costs.seconds["read"] / READERS, costs.seconds["collate"])
    return learned * hours, read * hours


def clips_of(hours: float, given: Mapping[str, float]) -> int:
    return math.ceil(hours * 3600 / given["clip-seconds"])


def limits(costs: Costs, given: Mapping[str, float], most_clips: int, most_shards: int) -> list[Limit]:
    """The real code at each size, up to these for what reads every clip or shard, and to the largest of all for the plan of training."""
    clip_hours = given["clip-seconds"] / 3600
    gib, minutes = ("GiB", given["driver-gib"]), ("min", given["start-minutes"])
    request = given["latency-ms"] / 1000 / 60

    def at(what: str, most: int, each: float) -> tuple[list[float], list[dict[str, float]]]:
        """Hours and figures: of two sizes at least, of which one is the largest that may be."""
        wanted = [math.ceil(hours / each) for hours in CORPORA.values()]
        units = sorted({most // 4, most, *(n for n in wanted if n <= most)})[-3:]
        return [n * each for n in units], [measured(what, n) for n in units]

    shard_hours, largest = SHARD_CLIPS * clip_hours, math.ceil(max(CORPORA.values()) / clip_hours / SHARD_CLIPS)
    index_hours, index = at("index", most_clips, clip_hours)
    blocks_hours, blocks = at("blocks", most_shards // 2, shard_hours)
    describe_hours, describe = at("describe", most_shards, shard_hours)
    train_hours, train = at("train", largest, shard_hours)
    alone_hours, alone = at("alone", most_shards, shard_hours)

    def of(what: str, bound: tuple[str, float], hours: Sequence[float], found: list[dict], value: Callable[[dict, float], float]) -> Limit:
        return Limit(what, *bound, hours, [value(each, n) for each, n in zip(found, hours, strict=True)])

    def requested(what: str, name: str, number: float, each: float, at_once: int = 1) -> Limit:
        hours = list(CORPORA.values())
        return Limit(what, *minutes, hours, [n / each * number * costs.requests.get(name, 1) * request / at_once for n in hours])

    return [
        of("prepare: index of the clips, memory", gib, index_hours, index, lambda each, _: each["MiB"] / 1024),
        of("prepare: index of the clips", minutes, index_hours, index, lambda each, _: (each["index"] + each["digests"]) / 60),
        requested("prepare: are the files others? from a store", "stamps of 1,000 files", FILES_PER_CLIP / LISTED, clip_hours),
        requested("prepare: are the shards done? in a store", "is a shard done", 1, shard_hours, READ_AHEAD),
        of("prepare: a block of Ray Data a shard", minutes, blocks_hours, blocks, lambda each, _: each["blocks"] / 60),
        of("prepare: dataset.json, memory", gib, describe_hours, describe, lambda each, _: each["MiB"] / 1024),
        of("prepare: dataset.json", minutes, describe_hours, describe, lambda each, _: each["describe"] / 60),
        requested("prepare: dataset.json, from a store", "describe a shard", 1, shard_hours, READ_AHEAD),
        of("train: card and plan of a worker, memory", gib, train_hours, train, lambda each, _: each["MiB"] / 1024),
        of(
            "train: card, listing and plan of a worker",
            minutes,
            train_hours,
            train,
            lambda each, n: (each["card"] + each["listing"] + each["plan"]) / 60 + n / shard_hours / LISTED * request,
        ),
        of("train: plan of the worker left of 64", minutes, alone_hours, alone, lambda each, _: each["plan"] / 60),
    ]


def size(number: float) -> str:
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if number >= unit:
            return f"{number / unit:,.1f} {name}"
    return f"{number / 1e6:,.0f} MB"


def figure(number: float) -> str:
    """With two figures at least."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def dollars(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= 10 else f"${amount:,.2f}"


def limit_rows(found: Sequence[Limit]) -> list[tuple[str, ...]]:
    """In the order in which they break; ``≈``: beyond what was run."""
    rows: list[tuple[str, ...]] = [("what may break", *CORPORA, "limit", "breaks at, hours")]
    for limit in sorted(found, key=lambda each: each.breaks):
        cells = []
        for hours in CORPORA.values():
            value, ran = limit.at(hours)
            cells.append(f"{'' if ran else '≈ '}{figure(value)}{' **!**' if value > limit.most else ''}")
        rows.append((limit.what, *cells, f"{limit.most:g} {limit.unit}", figure(limit.breaks)))
    return rows


def cost_rows(costs: Costs) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("an hour of signing", "measured")]
    rows += [(f"CPU seconds: {name}", figure(value)) for name, value in costs.seconds.items()]
    rows += [(f"stored: {name}", size(value)) for name, value in costs.size.items()]
    rows += [(f"requests: {name}", f"{value:g}") for name, value in costs.requests.items()]
    model = f"of the recipe's model, {costs.parameters / 1e6:.0f} M parameters"
    rows += [(f"TFLOP to learn, {model}", f"{costs.flops / 1e12:.1f}"), ("checkpoint, bytes a parameter", f"{costs.checkpoint:.1f}")]
    return rows


def report(given: Mapping[str, float], costs: Costs, found: Sequence[Limit], checks: Sequence[Sequence[str]]) -> None:
    plans = [plan(hours, costs, given) for hours in CORPORA.values()]
    tables = {
        "What a corpus needs": [("", *CORPORA), *((name, *(each[name] for each in plans)) for name in plans[0])],
        "What breaks, and when (**!**: it does; ≈: drawn on from what was run)": limit_rows(found),
        "Foretold by these costs, and measured": checks,
        "Costs": cost_rows(costs),
        "Assumed": [("option", "value", "what it is"), *((f"--{name}", f"{given[name]:g}", why) for name, (_, why) in ASSUMED.items())],
    }
    title = f"MS2SL at the size of real corpora, of hours of signing: {', '.join(f'{n} {h:,.0f}' for n, h in CORPORA.items())}. {machine()}"
    save_tables("scale", title, {f"## {heading}": rows for heading, rows in tables.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, (value, why) in ASSUMED.items():
        parser.add_argument(f"--{name}", type=float, default=value, help=why)
    parser.add_argument("--most-clips", type=int, default=450_000, help="of which the index is made")
    parser.add_argument("--most-shards", type=int, default=5_274, help="that are read to be described")
    parser.add_argument("--checks", type=int, nargs="*", default=[200, 800], help="clips of the corpora to prepare and train on")
    arguments = parser.parse_args()
    given = {name: getattr(arguments, name.replace("-", "_")) for name in ASSUMED}
    costs = measure(given["clip-seconds"])
    checks = check(arguments.checks, given["clip-seconds"], costs)
    report(given, costs, limits(costs, given, arguments.most_clips, arguments.most_shards), checks)


if __name__ == "__main__":
    main()
