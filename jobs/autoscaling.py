"""Whether a cluster gets more nodes when work asks for them, as one of KubeRay or of ``ray up`` may."""

from pathlib import Path

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.experimental.internal_kv import _internal_kv_get

PATIENCE = 60.0  # seconds that the head has for an answer


def autoscales() -> bool:
    """Whether an autoscaler serves the cluster that this driver has joined; False if that cannot be found out.

    No call of Ray says it, and what ``ray status`` shows does not either: on a fixed cluster it comes from a monitor on the head that
    reports, but has no autoscaling configuration. So the command line of the head's monitor is looked at. The head of a KubeRay cluster
    that scales runs none; its autoscaler is in another container, and reports alike.
    """

    def configured() -> bool | None:
        """Whether the monitor on this node, which is the head, has an autoscaling configuration; None if there is no monitor.

        Nested, so that Ray sends it by value: a head without CPUs may be without this code.
        """
        gcs = ray.get_runtime_context().gcs_address
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = file.read_bytes().decode(errors="replace").split("\0")
            except OSError:  # it ended just now
                continue
            if f"--gcs-address={gcs}" in words and any(word.endswith("monitor.py") for word in words):
                return any(word.startswith("--autoscaling-config=") for word in words)
        return None

    try:
        head = ray.remote(configured).options(num_cpus=0, resources={"node:__internal_head__": 0.001})
        own = ray.get(head.remote(), timeout=PATIENCE)
        return _reported() if own is None else own
    except Exception:  # of many kinds, by what is out of reach
        return False


def _reported() -> bool:
    """Whether an autoscaler has reported: version 2 to the control service, version 1 to its key-value store."""
    status = get_cluster_status(ray.get_runtime_context().gcs_address, timeout=5)
    return status.stats.autoscaler_version != "0" or _internal_kv_get(DEBUG_AUTOSCALING_STATUS) is not None
