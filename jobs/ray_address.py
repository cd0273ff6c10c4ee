"""Which cluster the actors of Ray Train ask."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE


@contextmanager
def address_known() -> Iterator[None]:
    """Gives the actors of Ray Train the address of the cluster that they are in.

    One of them frees what a stopped training had reserved. It asks Ray's State API whether the training still runs, and without an address
    that asks the cluster that was started last on the machine. Where that is gone nothing is freed; where it is another one, what a running
    training has reserved is taken away.
    """
    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    ENV_VARS_TO_PROPAGATE.add("RAY_ADDRESS")
    try:
        yield
    finally:
        if before is None:
            del os.environ["RAY_ADDRESS"]
        else:
            os.environ["RAY_ADDRESS"] = before
