"""Nodes that tests start by ``ray start``, beside other clusters on the same machine."""

import tempfile

# Else all nodes of a machine want the same ones: a node whose agent finds its port taken is seconds late.
ANY_PORTS = "--dashboard-agent-listen-port=0 --min-worker-port=0 --max-worker-port=0"

# Of a head that asks its nodes more often than others: a node that is gone is missed after two seconds, and not after fifteen.
SOON_MISSED = {"RAY_health_check_period_ms": "400"}


def short_folder() -> tempfile.TemporaryDirectory:
    """For --temp-dir: sockets lie in it, whose paths must be short."""
    return tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
