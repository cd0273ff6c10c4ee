"""Folders and stores that all nodes of a cluster must see alike: tried before work begins, since it would show late or not at all."""

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ms2sl.data.dataset import CARD
from ms2sl.errors import InputError
from ms2sl.io.atomic import atomic_write
from ms2sl.io.storage import AnyPath, StoragePath

LOOKED_AT = 2**20  # bytes of a file
LAG = 5.0  # seconds after which a node should see what another one has written
PATIENCE = 60.0  # seconds that a node has for an answer; who is silent so long is not judged


def check_shared(read: Mapping[str, AnyPath | None], written: Mapping[str, AnyPath | None], gpus: float = 0) -> None:
    """Raises InputError if another node, on which workers may run, does not see these folders as this process does, or reaches no store
    that they are in.

    read, written: folders of datasets and models, and folders for results, by the options that name them; None are left out. gpus: what
    each worker takes. Nothing is done where there is no other node. Nodes that join later are not asked.
    """
    nodes = others(gpus)
    if not nodes:
        return
    with contextlib.ExitStack() as markers:
        files = {option: _proof(folder) for option, folder in _local(read)}
        files |= {option: markers.enter_context(_marker(folder)) for option, folder in _local(written)}
        expected = {option: (str(file), digest(str(file))) for option, file in files.items() if file is not None}
        places = {option: StoragePath(folder) for option, folder in {**read, **written}.items() if folder is not None}
        stores = {option: place for option, place in places.items() if not place.is_local}
        there = {node["NodeID"]: NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes}
        asked = {unlike.options(scheduling_strategy=there[node["NodeID"]]).remote(expected, stores, LAG): node for node in nodes}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE)
        for answer in answered:
            _judge(answer, asked[answer]["NodeManagerAddress"], expected)


def others(gpus: float = 0) -> list[dict]:
    """Nodes that can hold a worker, besides that of this process; of a driver that is a client of Ray (``ray://``), all are others."""
    here = None if ray.util.client.ray.is_connected() else ray.get_runtime_context().get_node_id()
    return [node for node in ray.nodes() if node["NodeID"] != here and can_hold(node, gpus)]


def can_hold(node: dict, gpus: float) -> bool:
    """Whether a worker that takes so many GPUs, or a CPU alone, may run there."""
    return node["Alive"] and node["Resources"].get("GPU" if gpus else "CPU", 0) >= (gpus or 1)


def _local(folders: Mapping[str, AnyPath | None]) -> Iterator[tuple[str, Path]]:
    for option, folder in folders.items():
        if folder is not None and StoragePath(folder).is_local:
            yield option, Path(StoragePath(folder).uri)


def _proof(folder: Path) -> Path | None:
    """The file by which a dataset or a model is known, or any file of another folder; of a file itself."""
    if folder.is_file():
        return folder
    from ms2sl.training.checkpoint import CONFIG  # which loads torch, and who prepares data needs none

    known = [folder / name for name in (CARD, CONFIG) if (folder / name).exists()]
    return known[0] if known else next((path for path in folder.rglob("*") if path.is_file()), None)


@contextlib.contextmanager
def _marker(folder: Path) -> Iterator[Path]:
    """A file that nobody had before. Raises InputError if the folder cannot be written."""
    marker = folder / f".shared-{uuid.uuid4().hex}"
    with atomic_write(marker) as temporary:
        temporary.write_text(marker.name)
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def digest(path: str) -> str | None:
    """Of the size of a file and the begin of its content; None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read(LOOKED_AT) + str(os.path.getsize(path)).encode(), digest_size=8).hexdigest()
    except OSError:
        return None


@ray.remote(num_cpus=0, max_retries=0)
def unlike(expected: dict[str, tuple[str, str | None]], stores: dict[str, StoragePath], lag: float) -> list[str]:
    """Options whose files are others on this node, and stay so for ``lag`` seconds: mounts keep what they have listed for a while.

    Raises InputError if a store cannot be reached from here.
    """
    for option, place in stores.items():
        try:
            place.check_reachable()
        except InputError as error:
            raise InputError(f"{option}: {error}") from None
    began = time.monotonic()
    while True:
        options = [option for option, (path, found) in expected.items() if digest(path) != found]
        if not options or time.monotonic() - began > lag:
            return options
        time.sleep(lag / 10)


def _judge(answer: ray.ObjectRef, address: str, expected: Mapping[str, tuple[str, str | None]]) -> None:
    try:
        unseen = ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        reason = str(error.cause or error).strip().splitlines()[-1]
        if isinstance(error.cause, InputError):
            raise InputError(
                f"{reason}: so it is on node {address}; set the credentials of the store in the environment of `ray start` there"
            ) from None
        raise InputError(f"node {address} cannot run this program ({reason}): install the same version there, at the same path") from None
    except ray.exceptions.RayError:  # the node is lost, which is for others to say
        return
    if unseen:
        folder = Path(expected[unseen[0]][0]).parent
        raise InputError(
            f"{unseen[0]} {folder}: node {address} does not see there what this one ({ray.util.get_node_ip_address()}) sees; "
            "choose a folder on storage that all nodes share, at the same path"
        )
