from itertools import islice

import numpy as np
import pyarrow as pa
import pytest
import torch

from ms2sl.batching import COLUMNS, Plan, cut, split_batches
from ms2sl.collate import Collate
from ms2sl.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.local import local_batches
from ms2sl.shards import read_shard
from tests.conftest import BYTES, LOG_MEL


def rows(n: int, seed: int = 0) -> pa.Table:
    """Rows with the lengths of sentences: log-normal, 20 to 400 frames."""
    lengths = np.random.default_rng(seed).lognormal(4.5, 0.6, n).clip(20, 400).astype(np.int32)
    return pa.table({"id": [f"{seed}-{i}" for i in range(n)], "n_frames": lengths})


def plan(n: int, batch: int = 32, shards: int = 4, **options) -> Plan:
    return Plan([(f"shard-{i}", n // shards) for i in range(shards)], batch, **{"seed": 0} | options)


def ids(batches) -> list[list[str]]:
    return [batch["id"].to_pylist() for batch in batches]


def test_no_clip_comes_twice_in_an_epoch():
    seen = [name for batch in ids(cut([rows(1000)], plan(1000), 0)) for name in batch]
    assert len(seen) == len(set(seen)) == 1000 // 32 * 32


def test_the_same_seed_gives_the_same_batches_and_another_epoch_others():
    def first(epoch):
        return ids(cut([rows(1000)], plan(1000), epoch))

    assert first(0) == first(0)
    assert first(0) != first(1)


def test_it_does_not_matter_where_blocks_begin():
    table = rows(1000)
    pieces = [table.slice(start, 77) for start in range(0, 1000, 77)]
    assert ids(cut(pieces, plan(1000), 0)) == ids(cut([table], plan(1000), 0))


def test_padding_is_at_most_a_tenth():
    batches = list(cut([rows(4096)], plan(4096), 0))
    real = sum(int(batch["n_frames"].to_numpy().sum()) for batch in batches)
    padded = sum(-(-int(batch["n_frames"].to_numpy().max()) // 4) * 4 * len(batch) for batch in batches)
    assert padded / real <= 1.1


def test_long_and_short_batches_come_in_no_order():
    lengths = [batch["n_frames"].to_numpy().mean() for batch in cut([rows(4096)], plan(4096), 0)]
    assert lengths != sorted(lengths)


def test_ranks_share_the_shards_and_make_the_same_number_of_steps():
    shards = [(f"shard-{i}", 10 + i) for i in range(7)]
    plans = [Plan(shards, 4, seed=0, rank=rank, world_size=3) for rank in range(3)]
    for epoch in range(5):
        read = [path for each in plans for path in each.epoch(epoch)]
        assert len(read) == len(set(read)) == 6
    assert len({each.steps_per_epoch for each in plans}) == 1
    sizes = dict(shards)
    for epoch in range(5):
        for each in plans:
            blocks = [rows(sizes[path], seed=int(path[6:])) for path in each.epoch(epoch)]
            assert len(list(cut(blocks, each, epoch))) == each.steps_per_epoch


def test_too_few_shards_and_too_few_clips_are_explained():
    with pytest.raises(InputError, match="smaller --shard-size"):
        plan(100, shards=1, rank=0, world_size=2)
    with pytest.raises(InputError, match="lower the batch size"):
        plan(20, batch=32)


def test_a_batch_holds_what_the_rows_hold(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    table = read_shard(dataset.shards("train")[0][0], COLUMNS)
    batch = Collate(dataset.skeleton, BYTES, LOG_MEL)(table)
    clips = list(dataset.clips("train"))[: len(table)]
    for i, clip in enumerate(clips):
        n = int(batch.n_frames[i])
        assert n == clip.poses.n_frames
        assert torch.equal(batch.poses[i, :n], torch.from_numpy(clip.poses.joints))
        assert not batch.seen[i, n:].any()
        assert bytes(batch.text[i, : batch.n_text[i]].tolist()).decode() == (clip.text or "")
        assert bool(batch.n_speech[i] == 0) == (clip.speech is None)


def test_neither_blocks_nor_empty_blocks_matter_over_many_pools():
    table = rows(1000)
    pieces = [table.slice(start, 77) for start in range(0, 1000, 77)]
    pieces.insert(3, table.slice(0, 0))
    one, other = (ids(cut(blocks, plan(1000, batch=16), 0, pool_batches=4)) for blocks in ([table], pieces))
    assert one == other
    assert len(one) == 1000 // 16
    assert len({name for batch in one for name in batch}) == 1000 // 16 * 16


def test_training_that_starts_in_the_middle_goes_on_with_the_next_batch(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    collate, own = Collate(dataset.skeleton, BYTES, LOG_MEL), Plan(dataset.shards("train"), 7, seed=3)
    whole = list(islice(local_batches(own, collate, 0), 13))  # 5 batches an epoch
    for start in (0, 3, 5, 11):
        rest = list(islice(local_batches(own, collate, start), 13 - start))
        assert all(torch.equal(a.poses, b.poses) for a, b in zip(whole[start:], rest, strict=True)), start


def test_validation_reads_the_whole_split_once_over_all_ranks(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    collate = Collate(dataset.skeleton, BYTES, LOG_MEL)
    alone = list(split_batches(dataset, "dev", collate, 3))
    shared = [list(split_batches(dataset, "dev", collate, 3, rank, 2)) for rank in range(2)]
    assert sum(map(len, alone)) == 12
    for rank, batches in enumerate(shared):
        assert all(torch.equal(a.poses, b.poses) for a, b in zip(batches, alone[rank::2], strict=True))
