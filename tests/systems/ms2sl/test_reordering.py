"""What is said comes into the order in which it is signed."""

import pytest
import torch

from ms2sl.data.dataset import Dataset
from ms2sl.data.shards import read_shard, with_column
from ms2sl.nn.losses import best_path
from ms2sl.systems.ms2sl.condition_cache import one_after_another
from ms2sl.systems.ms2sl.condition_encoders import Condition
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.denoiser import patch_mask, patch_times
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.model import MS2SL, InpaintingWindow
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training.checkpoint import ModelCard

SMALL = {"width": 64, "encoder_layers": 1, "denoiser_layers": 1, "embedding": 32}


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


def task_of(dataset: Dataset, **shape) -> MS2SLTask:
    torch.manual_seed(0)
    config = ModelConfig(**SMALL, **shape)
    return MS2SLTask(dataset, config, LossWeights(), ModelCard.of("ms2sl", config, dataset.card))


def table_of(dataset: Dataset, task: MS2SLTask, order):
    table = read_shard(dataset.shards("test")[0][0], task.collate.columns).slice(0, 4)
    return with_column(table, "gloss", [" ".join(order(gloss.split())) for gloss in table["gloss"].to_pylist()])


def spelled(model: MS2SL, batch) -> list[list[int]]:
    """The glosses of each clip as its text says them, in the order of signing."""
    text, frames = model.text(batch.text, batch.n_text), batch.poses.shape[1]
    inside = patch_mask(batch.n_frames, frames, model.config.patch)
    along = model.aligner(text, batch.n_frames, patch_times(frames, model.config.patch, batch.poses.device))
    reordered = model.reorderer(along, inside, text.tokens, text.mask)
    return best_path(model.reorderer.gloss_logits(reordered), inside.sum(dim=1))


@pytest.mark.parametrize("order", [list, lambda signs: signs[::-1], lambda signs: [*signs[2:], *signs[:2]]], ids=["same", "back", "topic"])
def test_signs_come_in_the_order_of_the_glosses(dataset, order):
    task = task_of(dataset)
    batch = task.collate(table_of(dataset, task, order))
    optimizer = torch.optim.Adam(task.module.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        loss = task.module(batch, task.weights, generator)["gloss_ctc"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gloss = batch["gloss"]
    assert spelled(task.module, batch) == [(row[:n] - 1).tolist() for row, n in zip(gloss.values, gloss.lengths, strict=True)]


def test_each_of_several_pieces_is_put_in_order_by_itself(dataset):
    """What comes before another piece does not look at it, but for the frames about the border, which gather both."""
    model = task_of(dataset).module.eval()
    first, second, third = (one_row(model, text) for text in ([5, 6, 7, 8], [9, 10], [11, 12, 13]))
    lengths = torch.tensor([[200, 80]])

    def laid_out(*pieces: Condition, apart: bool = True) -> torch.Tensor:
        said = one_after_another([pieces], lengths.tolist())
        said.piece = said.piece if apart else None
        part = InpaintingWindow(torch.tensor([21]), lengths, *[torch.zeros(0)] * 3)
        with torch.no_grad():
            return model._laid_out([said], torch.tensor([200]), 200, part)[0]

    def moved(apart: bool) -> float:
        """How much another second piece changes the first."""
        return (laid_out(first, second, apart=apart) - laid_out(first, third, apart=apart))[:, :60].abs().mean().item()

    assert moved(apart=True) < moved(apart=False) / 5
    assert not torch.allclose(laid_out(first, second)[:, 92:], laid_out(first, third)[:, 92:], atol=1e-2)


def one_row(model: MS2SL, ids: list[int]) -> Condition:
    with torch.no_grad():
        return model.text(torch.tensor([ids]), torch.tensor([len(ids)]))


def test_clips_without_glosses_and_with_unknown_ones_teach_no_order(dataset):
    task = task_of(dataset, cond_drop_prob=0)
    table = table_of(dataset, task, list)

    def loss(glosses: list[str | None]) -> float:
        return task.module(task.collate(with_column(table, "gloss", glosses)), task.weights, torch.Generator().manual_seed(0))[
            "gloss_ctc"
        ].item()

    known = table["gloss"].to_pylist()
    assert loss([None] * 4) == loss(["unheard-of", None, f"{known[2]} unheard-of", ""]) == 0
    assert loss([known[0], None, None, None]) == pytest.approx(loss([known[0], "unheard-of", None, ""]))
    assert loss(known) > 0


def test_only_what_knows_glosses_learns_them(dataset):
    nameless = Dataset(dataset.folder)
    nameless.card = dataset.card.model_copy(update={"glosses": ()})
    for task in (task_of(dataset, reordering_layers=0), task_of(nameless)):
        assert "gloss_ctc" not in task.module.loss_names
        assert "gloss" not in task.collate(next(dataset.tables("train", task.collate.columns)).slice(0, 4))
    assert "gloss_ctc" in task_of(dataset).module.loss_names
