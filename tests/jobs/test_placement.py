"""Which workers a training asks Ray for, and where."""

import os
from contextlib import nullcontext

import pytest
from ray.exceptions import ActorUnavailableError

from jobs import machines, train
from jobs.machines import check_resources
from jobs.train import TrainCommand, fit, run, scaling
from ms2sl.errors import InputError


def asked_for(*arguments: str) -> tuple:
    found = scaling(TrainCommand.parse([*arguments]))
    return found.num_workers, found.placement_strategy, found._resources_per_worker_not_none


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], (1, "PACK", {"CPU": 1})),
        (["--workers", "2:8", "--placement", "spread", "--cpus-per-worker", "6"], ((2, 8), "SPREAD", {"CPU": 6})),
        (["--gpu"], (1, "PACK", {"GPU": 1})),
        (["--gpu", "--accelerator", "H100"], (1, "PACK", {"GPU": 1, "accelerator_type:H100": 0.001})),
        (["--gpu", "--cpus-per-worker", "12"], (1, "PACK", {"CPU": 12, "GPU": 1})),
    ],
)
def test_workers_are_asked_for_as_the_options_say(arguments, asked):
    workers, placement, resources = asked_for(*arguments)
    assert (workers, placement) == asked[:2]
    assert {kind: amount for kind, amount in resources.items() if amount} == asked[2]


def test_a_kind_of_gpu_that_the_cluster_lacks_is_told_at_once(ray_cluster):
    with pytest.raises(InputError, match="the cluster has no H100 and does not autoscale; it names no kind of GPU"):
        check_resources(1, accelerator="H100")


def test_what_no_machine_has_room_for_is_told_at_once(ray_cluster, monkeypatch):
    monkeypatch.setattr(machines, "machines", lambda: [{"CPU": 2.0}, {"CPU": 2.0}])  # the four CPUs of this cluster
    check_resources(2, cpus=2)
    check_resources(1, cpus=3, apart=True)
    with pytest.raises(InputError, match="1 workers take 3 CPUs each, of one machine, but the machines of the cluster have room for 0"):
        check_resources(1, cpus=3)


def test_a_training_that_is_refused_has_made_no_run(tiny_dataset, tmp_path, ray_cluster):
    refused = ["--data", str(tiny_dataset), "--runs", str(tmp_path), "--gpu", "--accelerator", "H100"]
    with pytest.raises(InputError, match="the cluster has 0 GPUs and does not autoscale"):
        run(TrainCommand.parse(refused))
    assert not list(tmp_path.rglob("recipe.json"))


def test_a_kind_of_gpu_without_gpus_is_refused(tiny_dataset, tmp_path):
    options = TrainCommand.parse(["--data", str(tiny_dataset), "--runs", str(tmp_path), "--accelerator", "H100"])
    with pytest.raises(InputError, match="--accelerator H100 is a kind of GPU, and workers have none: say --gpu"):
        run(options)


@pytest.mark.parametrize(("workers", "seconds"), [("2:8", "5"), (2, None)])
def test_workers_on_a_machine_that_is_gone_are_not_waited_for_where_fewer_do(workers, seconds, monkeypatch, tmp_path):
    class Trainer:
        def __init__(self, *_, **__):
            self.fit = lambda: os.environ.get("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S")

    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "")
    monkeypatch.delenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S")
    monkeypatch.setattr(train, "Interruptible", Trainer)
    monkeypatch.setattr(train, "address_known", nullcontext)
    assert fit(TrainCommand(runs=tmp_path, workers=workers), []) == seconds


def test_a_cluster_that_is_lost_is_told_in_a_line(monkeypatch, tmp_path):
    class Trainer:
        def __init__(self, *_, **__):
            pass

        def fit(self):
            raise ActorUnavailableError("Socket closed", None)

    monkeypatch.setattr(train, "Interruptible", Trainer)
    monkeypatch.setattr(train, "address_known", nullcontext)
    with pytest.raises(InputError, match=r"the cluster was lost, .* run the same command again to go on"):
        fit(TrainCommand(runs=tmp_path), [])
