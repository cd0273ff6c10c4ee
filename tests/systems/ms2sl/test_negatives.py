"""Two real processes that tell pairs from the clips of both."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from ms2sl.data.dataset import Dataset
from ms2sl.nn.losses import info_nce
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.losses import info_nce_of_all_ranks
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import worker_batches
from ms2sl.training.loop import TrainingConfig, train, worker_plans
from tests.training.ranks import Rank

CLIPS = [range(3), range(3, 8)]  # of each rank
PRESENT = torch.tensor([True, True, True, True, False, True, False, True])  # three of each rank


def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.nn.functional.normalize(torch.randn(8, 5, generator=generator), dim=1).requires_grad_() for _ in range(2))
    return a, b


def worker(rank: int, folder: str, data: str, shape: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    a, b = embeddings()
    rows = list(CLIPS[rank])
    loss = info_nce_of_all_ranks(a[rows], b[rows], PRESENT[rows], torch.tensor(2.0))
    loss.backward()
    found = {"loss": loss.item(), "a": a.grad.tolist(), "b": b.grad.tolist()}

    dataset, model = Dataset(data), ModelConfig.model_validate_json(shape).model_copy(update={"all_negatives": True})
    config = TrainingConfig(steps=3, batch_size=6, max_frames=(40, 4000)[rank], log_every=1, precision="fp32", virtual_workers=3)
    torch.manual_seed(0)
    task, plans = (
        MS2SLTask(dataset, model, LossWeights(), ModelCard.of("ms2sl", model, dataset.card)),
        worker_plans(config, dataset, rank, 2),
    )
    reporter = Rank()
    train(task, lambda step: worker_batches(plans, task.collate, step), config, reporter)
    found["trained"] = [row["contrastive"] for row in reporter.history]
    found["weight"] = task.module.text.pool.project.weight.sum().item()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tiny_dataset, tiny_model, tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("negatives")
    torch.multiprocessing.spawn(worker, (str(folder), str(tiny_dataset), tiny_model.model_dump_json()), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_loss_and_gradients_are_those_of_one_rank_with_all_clips(ranks):
    a, b = embeddings()
    loss = info_nce(a, b, PRESENT, torch.tensor(2.0))
    loss.backward()
    assert sum(rank["loss"] for rank in ranks) / 2 == pytest.approx(loss.item(), rel=1e-5)
    for name, whole in (("a", a), ("b", b)):
        averaged = sum(torch.tensor(rank[name]) for rank in ranks) / 2
        assert torch.allclose(averaged, whole.grad, atol=1e-6)
        assert whole.grad.abs().max() > 0.01


def test_ranks_with_other_numbers_of_batches_and_parts_train_together(ranks):
    """One splits its batches, the other does not; of three virtual workers one has two, the other one."""
    assert len(ranks[0]["trained"]) == 3
    assert ranks[0]["trained"] == ranks[1]["trained"]
    assert ranks[0]["weight"] == pytest.approx(ranks[1]["weight"], rel=1e-6)
