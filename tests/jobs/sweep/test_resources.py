import pytest
import ray

from jobs.sweep.command import TuneCommand
from jobs.sweep.resources import concurrency, needs, reserved
from ms2sl.errors import InputError


@pytest.fixture
def cluster(monkeypatch):
    """A function: what a cluster of these resources has room for."""

    def room(options: TuneCommand, **resources: float) -> int:
        return of_machines(options, resources)

    def of_machines(options: TuneCommand, *machines: dict[str, float]) -> int:
        gone = {"Alive": False, "Resources": {"CPU": 100.0, "GPU": 100.0}}
        alive = [{"Alive": True, "Resources": {"memory": 1e9} | resources} for resources in machines]
        monkeypatch.setattr(ray, "nodes", lambda: [gone, *alive])
        return concurrency(options)

    room.of_machines = of_machines

    return room


def of(cpus: int = 1, gpus: float = 0, workers: int = 1, concurrent: int | None = None) -> TuneCommand:
    return TuneCommand(cpus_per_trial=cpus, gpus_per_trial=gpus, workers_per_trial=workers, concurrent=concurrent)


def taken(options: TuneCommand) -> dict[str, float]:
    """What Tune reserves."""
    return reserved(options).required_resources


def test_a_trial_on_one_device_takes_its_threads_and_its_share_of_a_gpu():
    assert needs(of(cpus=3)) == {"CPU": 3}
    assert needs(of(cpus=2, gpus=0.25)) == {"CPU": 2, "GPU": 0.25}


@pytest.mark.parametrize("options", [of(), of(cpus=3), of(cpus=2, gpus=0.25), of(gpus=1)])
def test_all_of_a_trial_on_one_device_is_reserved(options):
    assert taken(options) == needs(options)
    assert len(reserved(options).bundles) == 1


def test_each_worker_takes_its_threads_and_a_whole_gpu():
    assert needs(of(cpus=2, workers=3)) == {"CPU": 2}
    assert needs(of(cpus=2, gpus=0.5, workers=3)) == needs(of(cpus=2, gpus=1, workers=3)) == {"CPU": 2, "GPU": 1}


@pytest.mark.parametrize("gpus", [0, 1])
def test_workers_reserve_for_themselves_and_who_waits_for_them_takes_no_cpu(gpus):
    options = of(cpus=2, gpus=gpus, workers=3)
    assert taken(options) == {"memory": 1}


@pytest.mark.parametrize(
    ("options", "resources", "trials"),
    [
        (of(), {"CPU": 4}, 4),
        (of(cpus=3), {"CPU": 8}, 2),
        (of(cpus=4), {"CPU": 4}, 1),
        (of(cpus=1, gpus=1), {"CPU": 16, "GPU": 2}, 2),
        (of(cpus=8, gpus=1), {"CPU": 16, "GPU": 4}, 2),
        (of(gpus=0.25), {"CPU": 16, "GPU": 1}, 4),
        (of(gpus=0.1), {"CPU": 16, "GPU": 1}, 10),
        (of(gpus=0.3), {"CPU": 16, "GPU": 1}, 3),
        (of(cpus=1, workers=2), {"CPU": 2}, 1),
        (of(cpus=1, workers=2), {"CPU": 4}, 2),
        (of(cpus=3, workers=2), {"CPU": 8}, 1),
        (of(cpus=1, gpus=1, workers=2), {"CPU": 64, "GPU": 8}, 4),
    ],
)
def test_as_many_trials_run_as_there_is_room_for(cluster, options, resources, trials):
    assert cluster(options, **resources) == trials


@pytest.mark.parametrize(("concurrent", "trials"), [(1, 1), (3, 3), (9, 4)])
def test_no_more_run_than_were_asked_for(cluster, concurrent, trials):
    assert cluster(of(concurrent=concurrent), CPU=4) == trials


@pytest.mark.parametrize(
    ("options", "resources", "reason"),
    [
        (of(cpus=5), {"CPU": 4}, "a trial needs 5 CPUs, but one machine of the cluster has at most 4: lower --cpus-per-trial"),
        (of(gpus=1), {"CPU": 4}, "a trial needs 1 CPUs and 1 GPUs, but one machine of the cluster has at most 4 and 0: .*--gpus-per-trial"),
        (
            of(gpus=1, workers=3),
            {"CPU": 64, "GPU": 2},
            "needs 3 workers of 1 CPUs and 1 GPUs each, .* have room for 2: .*--workers-per-trial",
        ),
        (of(cpus=2, workers=2), {"CPU": 3}, "a trial needs 2 workers of 2 CPUs each, .* have room for 1: .*--workers-per-trial"),
    ],
)
def test_a_trial_for_which_there_is_never_room_is_refused(cluster, options, resources, reason):
    with pytest.raises(InputError, match=reason):
        cluster(options, **resources)


def test_a_trial_lies_on_one_machine_and_its_share_of_a_gpu_on_one_gpu(cluster):
    machine = {"CPU": 4.0, "GPU": 2.0}
    assert cluster.of_machines(of(cpus=3), machine, machine) == 2
    assert cluster.of_machines(of(gpus=0.4), machine, machine) == 8
    assert cluster.of_machines(of(gpus=0.6), machine, machine) == 4
    with pytest.raises(InputError, match="one machine of the cluster has at most 4"):
        cluster.of_machines(of(cpus=5), machine, machine)


def test_a_worker_lies_on_one_machine_and_the_workers_of_a_trial_on_several(cluster):
    machine = {"CPU": 3.0, "GPU": 2.0}
    assert cluster.of_machines(of(cpus=2, workers=2), machine, machine, machine) == 1
    assert cluster.of_machines(of(cpus=2, workers=2), machine, machine, machine, machine) == 2
    with pytest.raises(InputError, match="4 workers of 2 CPUs each, but the machines of the cluster have room for 3"):
        cluster.of_machines(of(cpus=2, workers=4), machine, machine, machine)
