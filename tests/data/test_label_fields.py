"""What is said of a clip reaches the batch."""

import numpy as np
import pyarrow as pa
import torch

from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.collate import POSES, STANDARD, Collate
from ms2sl.data.dataset import Dataset
from ms2sl.data.label_fields import GLOSS_TIMES, NULL, category, gloss_ids
from ms2sl.training.local import local_batches


def test_glosses_and_their_times_come_from_the_corpus_to_the_batch(tiny_dataset, corpus):
    dataset = Dataset(tiny_dataset)
    collate = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech, [POSES, gloss_ids(dataset.card.glosses), GLOSS_TIMES])
    [table] = [table for i, table in enumerate(dataset.tables("test", collate.columns)) if i == 0]
    batch = collate(table)
    for row, index in enumerate(list(corpus.splits["test"])[: len(batch)]):
        clip = corpus.clip(index)
        signs, n = clip.gloss.split(), batch["gloss"].lengths[row]
        assert [dataset.card.glosses[i - 1] for i in batch["gloss"].values[row, :n].tolist()] == signs == list(clip.gloss.replace(" ", ""))
        times = batch["gloss_times"].values[row, : len(signs)].numpy()
        assert np.array_equal(times, clip.gloss_times)
        assert times[0, 0] == 0
        assert (times[1:, 0] > times[:-1, 1]).all(), "the hand moves from letter to letter in between"
        assert 0 <= clip.poses.seconds - times[-1, 1] < 1 / 12.5 + 1e-6, "the last letter ends with the clip"
    assert batch["gloss"].values.dtype == torch.int64


def test_a_letter_is_held_where_its_times_say(corpus):
    """The hand moves less, a frame, within the times of a letter that is held than between them."""
    held, between = [], []
    for index in corpus.splits["train"]:
        clip = corpus.clip(index)
        hand = clip.poses.joints[:, corpus.skeleton.part("right_hand")]
        speed = np.linalg.norm(np.diff(hand, axis=0), axis=-1).mean(axis=1)
        middle = (np.arange(len(speed)) + 0.5) / clip.poses.fps
        inside = np.any([(start <= middle) & (middle < stop) for start, stop in clip.gloss_times], axis=0)
        moving = {sign for sign in clip.gloss.split() if corpus.letters[sign].moves}
        if not moving:
            held += speed[inside].tolist()
            between += speed[~inside].tolist()
    assert np.mean(between) > 3 * np.mean(held)


def test_a_category_has_a_null_value_for_what_is_not_known(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    fields = [*STANDARD, category("signed_language", ["ase", "gsg"]), category("spoken_language", ["de"]), category("signer", ["anna"])]
    collate = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech, fields)
    batch = next(local_batches(EpochPlan.of(dataset, 4, 0), collate, 0))
    assert batch["signed_language"].values.tolist() == [[1]] * 4
    assert batch["signed_language"].lengths.tolist() == [1] * 4
    assert batch["spoken_language"].values.tolist() == batch["signer"].values.tolist() == [[NULL]] * 4
    assert batch["signer"].lengths.tolist() == [0] * 4
    undetermined = category("signed_language", ["ase", "und"]).make(pa.table({"signed_language": ["und", "ase"]}), collate)
    assert undetermined.values.tolist() == [[NULL], [1]]
    assert batch.rows(1, 3)["signed_language"].values.shape == (2, 1)


def test_a_sign_that_training_did_not_have_is_null(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    known = dataset.card.glosses[:5]
    collate = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech, [gloss_ids(known)])
    table = next(dataset.tables("train", collate.columns))
    ids, glosses = collate(table)["gloss"], table["gloss"].to_pylist()
    for row, n, gloss in zip(ids.values.tolist(), ids.lengths.tolist(), glosses, strict=True):
        assert row[:n] == [known.index(sign) + 1 if sign in known else NULL for sign in gloss.split()]
