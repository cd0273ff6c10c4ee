import queue
import threading

import pytest
import ray
import torch
from ray.util.placement_group import placement_group, remove_placement_group

from jobs.ray_dataloader import stream
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.collate import Collate
from ms2sl.data.dataset import Dataset
from ms2sl.io.storage import StoragePath
from ms2sl.training.local import local_batches, worker_batches

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.fixture
def collate(dataset) -> Collate:
    return Collate(dataset.skeleton, dataset.card.text, dataset.card.speech)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("start", [0, 5])
def test_ray_streams_the_very_batches_that_are_read_without_it(dataset, collate, rank, start):
    plan = EpochPlan(dataset.shards("train"), 4, seed=3, rank=rank, world_size=2)
    streamed = list(stream([plan], collate, start, 12))
    local = local_batches(plan, collate, start)
    assert len(streamed) >= 12 - start
    for batch in streamed:
        expected = next(local)
        assert torch.equal(batch.poses, expected.poses)
        assert torch.equal(batch.text, expected.text)
        assert torch.equal(batch.speech, expected.speech)


@pytest.mark.parametrize("start", [0, 5])
def test_several_virtual_workers_take_turns(dataset, collate, start, monkeypatch):
    monkeypatch.setattr("jobs.ray_dataloader.LISTED", 7)  # several executions
    plans = EpochPlan.of_worker(dataset, 4, 3, rank=1, world_size=2, virtual_workers=5)
    assert [plan.rank for plan in plans] == [1, 3]
    streamed, local = list(stream(plans, collate, start, 12)), worker_batches(plans, collate, start)
    assert len(streamed) >= 2 * (12 - start)
    for batch in streamed:
        assert torch.equal(batch.poses, next(local).poses)


def test_a_broken_shard_stops_the_stream_with_its_name(dataset, collate, tmp_path):
    plan = EpochPlan([(StoragePath(tmp_path / "train-00000.parquet"), 8)], 4, seed=0)
    with pytest.raises(Exception, match=r"train-00000\.parquet is missing"):
        next(stream([plan], collate, 0, 2))


@pytest.fixture
def no_cpu_left():
    """Every CPU of the cluster is taken, as training workers may take them."""
    group = placement_group([{"CPU": 1}] * int(ray.cluster_resources()["CPU"]))
    ray.get(group.ready(), timeout=120)
    yield
    remove_placement_group(group)


@pytest.mark.usefixtures("no_cpu_left")
def test_reading_needs_no_cpu_that_training_took(dataset, collate):
    plan, read = EpochPlan(dataset.shards("train"), 4, seed=3), queue.Queue()
    threading.Thread(target=lambda: read.put(list(stream([plan], collate, 0, 12))), daemon=True).start()
    assert len(read.get(timeout=120)) >= 12
