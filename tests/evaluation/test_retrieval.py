import numpy as np
import pytest
import torch

from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Clip
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.evaluation.retrieval import embeddings, retrieval, retrieval_table
from ms2sl.metrics.retrieval import median_rank, ranks, recall_at
from ms2sl.systems.ms2sl.condition_cache import BATCH
from ms2sl.systems.ms2sl.producer import MS2SLProducer

DIRECTIONS = ["text → speech", "text → signing", "speech → text", "speech → signing", "signing → text", "signing → speech"]


@pytest.fixture(scope="module")
def producer(tiny_checkpoint) -> MS2SLProducer:
    return MS2SLProducer.load(tiny_checkpoint)


@pytest.fixture(scope="module")
def clips(tiny_dataset) -> list[Clip]:
    return chosen_clips(Dataset(tiny_dataset), "test", 12)


@torch.no_grad()
def alone(producer: MS2SLProducer, clip: Clip) -> dict[str, np.ndarray]:
    """Its embeddings, without anybody else in the batch, and by way of the encoders themselves."""
    model, features = producer.model, producer.features(clip.utterance("both"))
    batch = producer.collate.batch([clip.poses], *([each] for each in features))
    text, speech = model.conditions(batch).values()
    signing = model.sign(model.space.encode(batch.poses, batch.seen)[0], batch.n_frames)
    return {"text": text.embedding[0].numpy(), "speech": speech.embedding[0].numpy(), "signing": signing[0].numpy()}


@pytest.fixture(scope="module")
def one_by_one(producer, clips) -> dict[str, np.ndarray]:
    found = [alone(producer, clip) for clip in clips]
    return {name: np.stack([each[name] for each in found]) for name in ("text", "speech", "signing")}


def test_embeddings_are_unit_vectors_and_what_each_clip_has_alone(producer, clips, one_by_one):
    found = embeddings(producer, clips, ("text", "speech"))
    assert list(found) == ["text", "speech", "signing"]
    for name, vectors in found.items():
        assert vectors.shape == (12, 8)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(vectors, one_by_one[name], atol=1e-5)


def test_every_direction_is_scored_on_these_embeddings(producer, clips, one_by_one):
    found = retrieval(producer, clips, ("text", "speech"))
    assert list(found) == DIRECTIONS
    for direction, scores in found.items():
        query, target = (one_by_one[name] for name in direction.split(" → "))
        expected = {f"R@{k}": recall_at(k, ranks(query, target)) for k in (1, 5, 10)} | {
            "median rank": median_rank(ranks(query, target)),
            "clips": len(query),
        }
        assert scores == pytest.approx(expected)
    assert len({scores["median rank"] for scores in found.values()}) > 1


def test_a_rank_is_the_number_of_clips_that_are_as_near(producer, clips, one_by_one):
    text, signing = one_by_one["text"], one_by_one["signing"]
    expected = [sum(float(query @ other) >= float(query @ signing[i]) for other in signing) for i, query in enumerate(text)]
    found = retrieval(producer, clips, ("text",))["text → signing"]
    assert found["median rank"] == np.median(expected)
    assert found["R@5"] == pytest.approx(100 * np.mean([rank <= 5 for rank in expected]))


def test_what_the_model_is_not_given_is_not_asked(producer, clips):
    assert list(retrieval(producer, clips, ("text",))) == ["text → signing", "signing → text"]


def test_more_clips_than_a_batch_holds_stay_in_order(producer, clips):
    many = clips * (BATCH // len(clips) + 1)
    found = embeddings(producer, many, ("text",))
    for vectors in found.values():
        assert len(vectors) == len(many) > BATCH
        np.testing.assert_allclose(vectors[-len(clips) :], vectors[: len(clips)], atol=1e-5)


def test_the_table_has_a_row_for_each_direction():
    found = {"text → signing": {"R@1": 12.5, "median rank": 3.0}, "signing → text": {"R@1": 100.0, "median rank": 1.0}}
    assert retrieval_table(found) == [
        ("from", "to", "R@1", "median rank"),
        ("text", "signing", "12.5", "3.0"),
        ("signing", "text", "100.0", "1.0"),
    ]
