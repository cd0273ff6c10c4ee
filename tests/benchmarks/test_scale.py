import math

import pytest

from benchmarks.scale import ASSUMED, CORPORA, Limit, along, clips_of, epoch_seconds, limit_rows, plan, size
from benchmarks.scale_costs import Costs
from benchmarks.scale_planning import SHARD_CLIPS

GIVEN = {name: value for name, (value, _) in ASSUMED.items()} | {"clip-seconds": 8.0, "gpu-tflops": 1000.0, "mfu": 0.5}
COSTS = Costs(
    seconds={
        "import": 20.0,
        "write": 10.0,
        "CLIP": 5.0,
        "HuBERT": 325.0,
        "default features": 6.0,
        "read": 0.5,
        "collate": 0.4,
        "train": 50.0,
    },
    size={"source": 1e9, "poses, speech, text": 9e7, "default features": 4e7, "CLIP, HuBERT": 1e7},
    requests={"stamps of 1,000 files": 1},
    flops=5e13,
    parameters=10**8,
    checkpoint=20.0,
)


@pytest.mark.parametrize(("where", "expected"), [(50, 1.0), (100, 2.0), (150, 4.0), (200, 6.0), (300, 10.0)])
def test_a_line_goes_through_what_was_measured_and_on_beyond_it(where, expected):
    assert along([100.0, 200.0], [2.0, 6.0], where) == expected


def test_what_breaks_does_so_where_it_takes_the_most_that_it_may():
    limit = Limit("memory", "GiB", 16, [100.0, 1000.0], [1.0, 10.0])
    assert limit.breaks == pytest.approx(1600)
    assert limit.at(1000) == (10, True)
    assert limit.at(10_000) == (100, False)
    assert Limit("nothing", "GiB", 16, [100.0, 1000.0], [1.0, 1.0]).breaks == math.inf


def test_what_breaks_first_comes_first_and_what_was_not_run_is_marked():
    late, early = Limit("late", "min", 10, [80.0, 3e6], [0.1, 1.0]), Limit("early", "min", 10, [80.0, 1000.0], [0.1, 20.0])
    header, first, second = limit_rows([late, early])
    assert (header[0], first[0], second[0]) == ("what may break", "early", "late")
    at = dict(zip(header, first, strict=True))
    assert at["How2Sign"] == "0.1"
    assert at["YouTube-ASL"] == "20 **!**"
    assert at["a million hours"].startswith("≈ ")


def test_an_epoch_is_learned_as_fast_as_a_gpu_computes_and_read_as_fast_as_the_slower_of_tasks_and_thread():
    assert epoch_seconds(100, COSTS, GIVEN) == pytest.approx((100 * 5e13 / 5e14, 100 * 0.4))


def test_a_corpus_needs_what_its_hours_cost():
    needed = plan(1000, COSTS, GIVEN)
    assert clips_of(1000, GIVEN) == 450_000
    assert needed["shards"] == f"{math.ceil(450_000 / SHARD_CLIPS):,}"
    assert needed["source"] == "1.0 TB"
    assert needed["dataset, with CLIP and HuBERT"] == "100.0 GB"
    assert needed["prepare, CPU hours"] == "100"
    assert needed["without CLIP and HuBERT"] == "10"
    assert needed["price: prepare"] == f"${100 * GIVEN['cpu-hour']:.2f}"


def test_every_corpus_has_a_plan_of_the_same_rows():
    assert len({tuple(plan(hours, COSTS, GIVEN)) for hours in CORPORA.values()}) == 1


@pytest.mark.parametrize(("number", "told"), [(2e6, "2 MB"), (3.2e9, "3.2 GB"), (1.5e12, "1.5 TB"), (2e15, "2.0 PB")])
def test_sizes_for_people(number, told):
    assert size(number) == told
