"""Batches of one training worker, streamed from shards by Ray Data.

One streaming execution serves many epochs of a small corpus: starting one costs seconds, which such an epoch does not last. Each worker
reads its own plans of shards, in order; that makes the order of the data exact, so that a run that was interrupted goes on with the very
batch at which it stopped, and no worker waits for another's data.
"""

import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise, zip_longest
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import ray
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ms2sl.data.batch_sampler import EpochPlan, Rows, length_bucketed_batches, marked
from ms2sl.data.skeleton import Skeleton
from ms2sl.io.storage import StoragePath

if TYPE_CHECKING:  # what reads for the workers needs no torch
    from ms2sl.data.collate import Batch, Collate

SHARDS_PER_TASK = 4
READERS = 2
LISTED = 4096  # parts of shards
AHEAD = 512 * 2**20  # bytes of shards read ahead
READY_BATCHES = 4
PAUSE = 0.05  # seconds


class ThrottleExecutorLoop(ExecutionCallback):
    """Lets Ray Data look around a few times a second only, while all that may be read ahead has been read.

    Its loop does not rest then: it would take a core, and the interpreter's lock, from the training beside it.
    """

    def on_execution_step(self, executor) -> None:
        time.sleep(PAUSE)


def read(batch: dict, columns: list[str], skeleton: Skeleton) -> Iterator[pa.Table]:
    """These columns of the rows of some shards, with poses of the skeleton, each row marked with its epoch and whose it is."""
    for shard, clips, start, stop, epoch, plan in zip(*(batch[name] for name in (*Rows._fields, "epoch", "plan")), strict=True):
        yield marked(Rows(StoragePath(shard), clips, start, stop).read(columns, skeleton), epoch=epoch, plan=plan)


def stream(plans: Sequence[EpochPlan], collate: "Collate", start: int, steps: int, pinned: bool = False) -> Iterator["Batch"]:
    """The batches of steps ``start`` to ``steps``, and perhaps some more, of all of these plans: of each one a step. pinned: in memory that
    a GPU copies from beside what it computes."""
    first, skip = divmod(start, plans[0].steps_per_epoch)
    epochs = range(first, (steps - 1) // plans[0].steps_per_epoch + 1)
    blocks = Routed(executions(reads(plans, epochs, skip), collate))

    def tables() -> Iterator[pa.Table]:
        for epoch in epochs:
            left_out = skip if epoch == first else 0
            of_plans = (length_bucketed_batches(blocks.of(i, epoch), plan, epoch, left_out) for i, plan in enumerate(plans))
            yield from chain.from_iterable(zip(*of_plans, strict=True))

    batches = map(collate, tables())
    return prefetch((batch.pin_memory() for batch in batches) if pinned else batches)


def reads(plans: Sequence[EpochPlan], epochs: Sequence[int], skip: int) -> Iterator[dict]:
    """What is to be read for these epochs, but for the first batches of the first one; the plans take turns."""
    for epoch in epochs:
        of_plans = (plan.epoch(epoch, skip if epoch == epochs[0] else 0) for plan in plans)
        for turn in zip_longest(*of_plans):
            for i, rows in enumerate(turn):
                if rows is not None:
                    yield rows._asdict() | {"shard": rows.shard.uri, "epoch": epoch, "plan": i}


def executions(items: Iterator[dict], collate: "Collate") -> Iterator[pa.Table]:
    """What Ray Data reads, one execution after another, none of which knows more than ``LISTED`` of what is to be read."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    # Without a bound Ray would read all that it knows of at once, at the cost of the first steps.
    context.custom_execution_callback_classes = [ThrottleExecutorLoop]
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(object_store_memory=AHEAD)
    # Where the batches are learned from, but for a machine that is about to be taken away: it takes no more tasks.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    while some := list(islice(items, LISTED)):
        yield from (
            ray.data.from_items(some, override_num_blocks=-(-len(some) // SHARDS_PER_TASK))
            .map_batches(
                read,
                fn_kwargs={"columns": collate.columns, "skeleton": collate.skeleton},
                batch_size=SHARDS_PER_TASK,
                compute=ray.data.TaskPoolStrategy(size=READERS),
                num_cpus=0,  # the workers may have taken every CPU of the cluster, and would wait for ever for a part of one
                scheduling_strategy=here,
            )
            .iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2)
        )


class Routed:
    """Blocks of rows for whom they were read; what came early waits."""

    def __init__(self, blocks: Iterator[pa.Table]):
        self._blocks = parts(blocks)
        self._waiting: dict[tuple[int, int], deque[pa.Table]] = defaultdict(deque)

    def of(self, plan: int, epoch: int) -> Iterator[pa.Table]:
        while True:
            while not self._waiting[plan, epoch]:
                block = next(self._blocks, None)
                if block is None:
                    return
                self._waiting[block["plan"][0].as_py(), block["epoch"][0].as_py()].append(block)
            yield self._waiting[plan, epoch].popleft()


def parts(blocks: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Ray may join what tasks yielded: blocks of several epochs or plans are cut apart."""
    for block in blocks:
        whose = np.stack([block[name].to_numpy() for name in ("epoch", "plan")])
        cuts = np.flatnonzero((np.diff(whose) != 0).any(axis=0)) + 1
        for start, stop in pairwise([0, *cuts.tolist(), len(block)]):
            if start < stop:
                yield block.slice(start, stop - start)


def prefetch(batches: Iterator["Batch"]) -> Iterator["Batch"]:
    """Prepares the next batches in a thread while the current one is learned from."""
    ready: queue.Queue = queue.Queue(READY_BATCHES)
    stopped = threading.Event()

    def put(item) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for batch in batches:
                if not put((batch, None)):
                    return
            put((None, None))
        except BaseException as error:
            put((None, error))

    threading.Thread(target=fill, daemon=True).start()
    try:
        while True:
            batch, error = ready.get()
            if error is not None:
                raise error
            if batch is None:
                return
            yield batch
    finally:
        stopped.set()
