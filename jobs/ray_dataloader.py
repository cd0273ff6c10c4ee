"""Batches of one training worker, streamed from shards by Ray Data.

One streaming execution serves the whole training: starting one costs seconds, which an epoch of a small corpus does
not last. Each worker reads its own plan of shards, in order; that makes the order of the data exact, so that a run
that was interrupted goes on with the very batch at which it stopped, and no worker waits for another's data.
"""

import queue
import threading
import time
from collections.abc import Iterator
from itertools import groupby, islice
from typing import TYPE_CHECKING

import pyarrow as pa
import ray
from ray.data._internal.execution.execution_callback import ExecutionCallback

from ms2sl.data.batch_sampler import EpochPlan, Rows, length_bucketed_batches, marked
from ms2sl.data.skeleton import Skeleton
from ms2sl.io.storage import StoragePath

if TYPE_CHECKING:  # what reads for the workers needs no torch
    from ms2sl.data.collate import Batch, Collate

SHARDS_PER_TASK = 4
READERS = 2
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
    """These columns of the rows of some shards, with poses of the skeleton, each row marked with its epoch."""
    for shard, clips, start, stop, epoch in zip(*(batch[name] for name in (*Rows._fields, "epoch")), strict=True):
        yield marked(Rows(StoragePath(shard), clips, start, stop).read(columns, skeleton), epoch)


def stream(plan: EpochPlan, collate: "Collate", start: int, steps: int) -> Iterator["Batch"]:
    """The batches of steps ``start`` to ``steps`` of this rank."""
    first, last = start // plan.steps_per_epoch, (steps - 1) // plan.steps_per_epoch
    items = [rows._asdict() | {"shard": rows.shard.uri, "epoch": epoch} for epoch in range(first, last + 1) for rows in plan.epoch(epoch)]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    # The whole training is one plan: without a bound Ray would read all of it at once, at the cost of the first steps.
    context.custom_execution_callback_classes = [ThrottleExecutorLoop]
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(object_store_memory=AHEAD)
    blocks = (
        ray.data.from_items(items, override_num_blocks=-(-len(items) // SHARDS_PER_TASK))
        .map_batches(
            read,
            fn_kwargs={"columns": collate.columns, "skeleton": collate.skeleton},
            batch_size=SHARDS_PER_TASK,
            compute=ray.data.TaskPoolStrategy(size=READERS),
            num_cpus=0,  # the workers may have taken every CPU of the cluster, and would wait for ever for a part of one
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},  # where the batches are learned from
        )
        .iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2)
    )
    tables = (
        table for epoch, group in groupby(blocks_by_epoch(blocks), key=epoch_of) for table in length_bucketed_batches(group, plan, epoch)
    )
    return prefetch(collate(table) for table in islice(tables, start % plan.steps_per_epoch, None))


def epoch_of(block: pa.Table) -> int:
    return block["epoch"][0].as_py()


def blocks_by_epoch(blocks: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Ray may join what tasks yielded; blocks that span epochs are cut apart."""
    for block in blocks:
        epochs = block["epoch"].to_numpy()
        for epoch in range(epochs[0], epochs[-1] + 1) if len(block) else ():
            start, stop = epochs.searchsorted([epoch, epoch + 1])
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
