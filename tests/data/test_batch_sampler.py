from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa
import pytest
import torch

from ms2sl.data.batch_sampler import EpochPlan, equal_frames, length_bucketed_batches, split_batches
from ms2sl.data.collate import Collate
from ms2sl.data.dataset import Dataset
from ms2sl.data.shards import read_shard
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.errors import InputError
from ms2sl.training.local import local_batches
from tests.conftest import BYTES, LOG_MEL


def rows(n: int, seed: int = 0) -> pa.Table:
    """Rows with the lengths of sentences: log-normal, 20 to 400 frames."""
    lengths = np.random.default_rng(seed).lognormal(4.5, 0.6, n).clip(20, 400).astype(np.int32)
    return pa.table({"id": [f"{seed}-{i}" for i in range(n)], "n_frames": lengths})


def plan(n: int, batch: int = 32, shards: int = 4, **options) -> EpochPlan:
    return EpochPlan([(f"shard-{i}", n // shards) for i in range(shards)], batch, **{"seed": 0} | options)


def dealt(sizes: list[int], batch: int, world_size: int, epoch: int, seed: int = 0) -> list[list[list[str]]]:
    """Of each rank, the ids of each of its batches of one epoch of shards of these sizes."""
    shards = [(f"shard-{i}", clips) for i, clips in enumerate(sizes)]
    tables = {name: rows(clips, seed=i) for i, (name, clips) in enumerate(shards)}
    plans = [EpochPlan(shards, batch, seed, rank, world_size, pool_batches=3) for rank in range(world_size)]
    return [ids(length_bucketed_batches(read(each, tables, epoch), each, epoch)) for each in plans]


def read(plan: EpochPlan, tables: dict[str, pa.Table], epoch: int, skip: int = 0) -> list[pa.Table]:
    return [tables[part.shard].slice(part.start, part.stop - part.start) for part in plan.epoch(epoch, skip)]


def ids(batches) -> list[list[str]]:
    return [batch["id"].to_pylist() for batch in batches]


def test_every_clip_comes_once_in_an_epoch_and_no_batch_is_larger_than_asked_for():
    batches = ids(length_bucketed_batches([rows(1000)], plan(1000), 0))
    assert sorted(name for batch in batches for name in batch) == sorted(rows(1000)["id"].to_pylist())
    assert {len(batch) for batch in batches} == {31, 32}


@pytest.mark.parametrize(
    ("lengths", "parts", "cuts"),
    [
        ([1, 1, 1, 1], 2, [0, 2, 4]),
        ([10, 10, 20, 40], 2, [0, 3, 4]),
        ([1, 1, 1, 100], 3, [0, 2, 3, 4]),
        ([100, 1, 1, 1], 3, [0, 1, 2, 4]),
        ([5, 6, 7], 3, [0, 1, 2, 3]),
        ([0, 0, 0, 0], 2, [0, 2, 4]),
        ([7, 8], 1, [0, 2]),
    ],
)
def test_clips_are_cut_into_parts_of_equal_frames_of_one_clip_or_more(lengths, parts, cuts):
    assert equal_frames(np.array(lengths), parts).tolist() == cuts


def test_batches_by_frames_hold_every_clip_once_and_as_many_frames_each():
    by_clips, by_frames = (list(length_bucketed_batches([rows(2000)], plan(2000, by_frames=choice), 0)) for choice in (False, True))
    assert sorted(name for batch in ids(by_frames) for name in batch) == sorted(rows(2000)["id"].to_pylist())
    assert len(by_frames) == len(by_clips)
    frames = [[pa.compute.sum(batch["n_frames"]).as_py() for batch in batches] for batches in (by_clips, by_frames)]
    assert max(frames[0]) > 2.5 * np.mean(frames[0])
    assert max(frames[1]) < 1.1 * np.mean(frames[1])
    assert len({len(batch) for batch in by_frames}) > 10


def test_the_same_seed_gives_the_same_batches_and_another_epoch_others():
    def first(epoch):
        return ids(length_bucketed_batches([rows(1000)], plan(1000), epoch))

    assert first(0) == first(0)
    assert first(0) != first(1)


def test_it_does_not_matter_where_blocks_begin():
    table = rows(1000)
    pieces = [table.slice(start, 77) for start in range(0, 1000, 77)]
    assert ids(length_bucketed_batches(pieces, plan(1000), 0)) == ids(length_bucketed_batches([table], plan(1000), 0))


def test_padding_is_at_most_a_tenth():
    batches = list(length_bucketed_batches([rows(4096)], plan(4096), 0))
    real = sum(int(batch["n_frames"].to_numpy().sum()) for batch in batches)
    padded = sum(-(-int(batch["n_frames"].to_numpy().max()) // 4) * 4 * len(batch) for batch in batches)
    assert padded / real <= 1.1


def test_long_and_short_batches_come_in_no_order():
    lengths = [batch["n_frames"].to_numpy().mean() for batch in length_bucketed_batches([rows(4096)], plan(4096), 0)]
    assert lengths != sorted(lengths)


SIZES = {
    "as prepared": [10, 10, 10, 4],
    "a short last shard": [256, 44],
    "one clip in a shard": [1] * 9,
    "unequal": [3, 50, 0, 7, 1, 0, 21],
    "one": [37],
    "a few": [2, 3],
}


@pytest.mark.parametrize(
    ("shards", "world_size"), [(name, n) for name, sizes in SIZES.items() for n in (1, 2, 3, 5, 8, 37) if n <= sum(sizes)]
)
@pytest.mark.parametrize("batch", [1, 4, 64])
def test_ranks_share_all_clips_of_every_epoch_and_make_the_same_number_of_steps(shards, world_size, batch):
    sizes = SIZES[shards]
    everyone = sorted(name for i, clips in enumerate(sizes) for name in rows(clips, seed=i)["id"].to_pylist())
    for epoch in range(3):
        ranks = dealt(sizes, batch, world_size, epoch)
        assert sorted(name for batches in ranks for each in batches for name in each) == everyone
        assert len({len(batches) for batches in ranks}) == 1
        for at_one_step in zip(*ranks, strict=True):
            lengths = [len(each) for each in at_one_step]
            assert max(lengths) - min(lengths) <= 1
            assert 1 <= min(lengths) <= max(lengths) <= max(batch, 2)


@pytest.mark.parametrize(("sizes", "workers", "steps"), [([256, 44], 2, 3), ([256] * 11 + [184], 8, 6), ([256] * 121 + [70], 64, 8)])
def test_a_short_last_shard_starves_nobody(sizes, workers, steps):
    plans = [EpochPlan([(f"shard-{i}", n) for i, n in enumerate(sizes)], 64, 0, rank, workers) for rank in range(workers)]
    assert [each.steps_per_epoch for each in plans] == [steps] * workers
    assert sum(sum(each.batch_sizes) for each in plans) == sum(sizes)


def test_a_rank_reads_other_rows_in_another_epoch_and_the_same_in_the_same():
    sizes = [40] * 6
    assert dealt(sizes, 8, 4, epoch=1) == dealt(sizes, 8, 4, epoch=1)
    first, second = ({name for batch in dealt(sizes, 8, 4, epoch)[0] for name in batch} for epoch in (0, 1))
    assert first != second


def test_fewer_clips_than_workers_are_refused():
    assert plan(8, world_size=8).steps_per_epoch == 1
    with pytest.raises(InputError, match="8 training clips cannot feed 9 workers: use at most 8"):
        plan(8, world_size=9)


def test_a_shard_of_another_number_of_clips_than_described_is_refused(tiny_dataset):
    (place, clips), *_ = Dataset(tiny_dataset).shards("train")
    [part] = EpochPlan([(place, clips + 1)], 4, seed=0).epoch(0)
    with pytest.raises(InputError, match=rf"train-00000\.parquet has {clips} clips, and {clips + 1} by the description"):
        part.read(["id"], HOLISTIC_49X2)


def test_a_batch_holds_what_the_rows_hold(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    collate = Collate(dataset.skeleton, BYTES, LOG_MEL)
    table = read_shard(dataset.shards("train")[0][0], collate.columns)
    batch = collate(table)
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
    one, other = (ids(length_bucketed_batches(blocks, plan(1000, batch=16, pool_batches=4), 0)) for blocks in ([table], pieces))
    assert one == other
    assert sorted(name for batch in one for name in batch) == sorted(table["id"].to_pylist())


def features(n: int, size: int, kind: pa.DataType) -> pa.Table:
    """Rows of ``size`` bytes of zeros each, in chunks of 100 that share one buffer."""
    zeros = pa.py_buffer(bytes(100 * size))
    offsets = pa.py_buffer((np.arange(101, dtype=np.int64 if kind == pa.large_binary() else np.int32) * size).tobytes())
    chunks = [pa.Array.from_buffers(kind, 100, [None, offsets, zeros])] * (n // 100)
    return rows(n).append_column("speech_features", pa.chunked_array(chunks))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
def test_a_pool_may_hold_more_than_2_gib_and_its_rows_are_not_copied(kind):
    table = features(2000, 2**31 // 1900, kind)
    assert table["speech_features"].nbytes > 2**31
    before = pa.total_allocated_bytes()
    batches = list(length_bucketed_batches([table], plan(2000, batch=64), 0))
    assert sorted(name for batch in ids(batches) for name in batch) == sorted(table["id"].to_pylist())
    assert pa.total_allocated_bytes() - before < 2**24


@pytest.mark.parametrize(("sizes", "pools"), [((), [32, 32, 32, 4]), ((100,) * 10, [32, 32, 32, 4]), ((31_000,) * 10, [4] * 25)])
def test_a_pool_is_bounded_by_bytes_of_shards(sizes, pools):
    """Of 10 shards of 100 clips each, in batches of 10: at 31,000 bytes a shard, four batches reach 12,000."""
    own = plan(1000, batch=10, shards=10, sizes=sizes, pool_bytes=12_000)
    assert [len(pool) for pool in own.pools(0)] == pools
    table = rows(1000)
    batches = ids(length_bucketed_batches([table], own, 0))
    ends = np.cumsum([0, *pools])
    for begin, end in pairwise(ends):
        assert {name for batch in batches[begin:end] for name in batch} == {f"0-{i}" for i in range(10 * begin, 10 * end)}


def test_large_shards_make_short_pools_and_small_ones_long_ones():
    shards = [("large", 40), ("small", 400)]
    own = EpochPlan(shards, 10, seed=0, sizes=(40_000, 4_000), pool_bytes=20_000, pool_batches=10)
    large_first = own.epoch(0)[0].shard == "large"
    assert [len(pool) for pool in own.pools(0)] == ([2, 2, 10, 10, 10, 10] if large_first else [10] * 4 + [2, 2])


@pytest.mark.parametrize("by_frames", [False, True])
@pytest.mark.parametrize("sizes", [(), (9_000, 1_000, 30_000, 4_000)])
def test_an_epoch_goes_on_in_the_middle_and_reads_no_pool_of_before(sizes, by_frames):
    tables = {f"shard-{i}": rows(250, seed=i) for i in range(4)}
    own = plan(1000, batch=10, sizes=sizes, pool_bytes=5_000, pool_batches=7, rank=1, world_size=2, by_frames=by_frames)
    whole = ids(length_bucketed_batches(read(own, tables, 3), own, 3))
    ends = [0, *(pool.stop for pool in own.pools(3))]
    for skip in range(own.steps_per_epoch):
        rest = read(own, tables, 3, skip)
        assert ids(length_bucketed_batches(rest, own, 3, skip)) == whole[skip:]
        begin = max(end for end in ends if end <= skip)
        assert sum(map(len, rest)) == sum(own.batch_sizes[begin:])


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_the_work_of_virtual_workers_is_dealt_to_however_many_workers_there_are(tiny_dataset, workers):
    dataset = Dataset(tiny_dataset)
    plans = [EpochPlan.of_worker(dataset, 4, 0, rank, workers, 5) for rank in range(workers)]
    assert sorted((each.rank, each.world_size) for of_worker in plans for each in of_worker) == [(i, 5) for i in range(5)]
    assert max(map(len, plans)) - min(map(len, plans)) <= 1


def test_more_workers_than_virtual_ones_are_refused(tiny_dataset):
    with pytest.raises(InputError, match=r"dealt to 2 virtual workers \(training\.virtual_workers\), .* for 3 workers: use at most 2"):
        EpochPlan.of_worker(Dataset(tiny_dataset), 4, 0, 0, 3, 2)


def test_training_that_starts_in_the_middle_goes_on_with_the_next_batch(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    collate, own = Collate(dataset.skeleton, BYTES, LOG_MEL), EpochPlan(dataset.shards("train"), 7, seed=3)
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


def drawn(plans: list[EpochPlan], epoch: int) -> Counter:
    """How often each row comes in an epoch, over all ranks."""
    return Counter((rows.shard, row) for each in plans for rows in each.epoch(epoch) for row in range(rows.start, rows.stop))


@pytest.mark.parametrize(("weight", "epochs"), [(0.25, 4), (1.0, 1), (2.0, 1), (1.5, 2), (0.3, 10)])
def test_a_weight_says_how_often_each_clip_comes(weight, epochs):
    """Two datasets, of 12 + 8 and of 10 + 10 rows, the second one weighted: after as many epochs as make the weight whole, each of its
    clips came equally often, and in every epoch so many rows of it as the weight says."""
    shards, weights = [("a0", 12), ("a1", 8), ("b0", 10), ("b1", 10)], ((2, 1.0), (2, weight))
    plans = [EpochPlan(shards, 4, 0, rank, 2, weights) for rank in range(2)]
    total = Counter()
    for epoch in range(epochs):
        found = drawn(plans, epoch)
        assert all(found["a0", i] == 1 for i in range(12))
        assert sum(n for (shard, _), n in found.items() if shard.startswith("b")) == round(20 * weight)
        total += found
    assert {total[shard, i] for shard in ("b0", "b1") for i in range(10)} == {round(weight * epochs)}
    assert plans[0].clips == 20 + round(20 * weight)


def test_a_dataset_alone_is_read_in_the_order_in_which_it_always_was():
    shards = [("a", 5), ("b", 7), ("c", 3)]
    order = np.random.default_rng((3, 1)).permutation(3)
    assert [rows.shard for rows in EpochPlan(shards, 4, 3).epoch(1)] == [shards[i][0] for i in order]
    assert EpochPlan(shards, 4, 3, weights=((3, 1.0),)).epoch(1) == EpochPlan(shards, 4, 3).epoch(1)


def test_a_clip_that_comes_twice_is_never_beside_itself_in_a_batch():
    """Copies are of one length, and a batch is of like lengths: beside itself a clip would be its own contrast."""
    tables = {"a": rows(40, seed=1), "b": rows(40, seed=2)}
    plan = EpochPlan([("a", 40), ("b", 40)], 16, 0, weights=((1, 2.0), (1, 1.0)))
    for epoch in range(3):
        blocks = [tables[part.shard].slice(part.start, part.stop - part.start) for part in plan.epoch(epoch)]
        batches = [batch["id"].to_pylist() for batch in length_bucketed_batches(blocks, plan, epoch)]
        assert all(len(set(batch)) == len(batch) for batch in batches)
        assert Counter(name for batch in batches for name in batch) == Counter(
            {f"1-{i}": 2 for i in range(40)} | {f"2-{i}": 1 for i in range(40)}
        )
