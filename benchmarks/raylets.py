"""A Ray cluster whose nodes are raylets of this machine, each with processes of its own: a head without CPUs, and nodes of one CPU."""

import contextlib
import os
import tempfile

import psutil


class Raylets:
    """nodes: those that are there. The folder of Ray's files is one of its own, so that nobody else's cluster is met."""

    def __init__(self, nodes: int = 2):
        self._folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
        os.environ["RAY_TMPDIR"] = self._folder.name
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self.size, self.nodes = nodes, []
        self.cluster = None

    @property
    def address(self) -> str:
        return self.cluster.address

    def start(self) -> None:
        from ray.cluster_utils import Cluster  # reads RAY_TMPDIR

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "dashboard_port": None})
        self.complete()

    def complete(self) -> None:
        """Adds nodes until there are as many as at the start."""
        while len(self.nodes) < self.size:
            self.nodes.append(self.cluster.add_node(num_cpus=1))

    def lose(self) -> None:
        """A node is gone at once, as one whose power was cut."""
        self.cluster.remove_node(self.nodes.pop(0), allow_graceful=False)

    def restart(self) -> None:
        """Another head with new nodes."""
        self.stop()
        self.start()

    def kill_worker(self, name: str = "ray::RayTrainWorker") -> None:
        """One of the workers of that name, by default those that train; they are below this process, as all of the cluster."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if name in " ".join(process.cmdline()):
                    process.kill()
                    return
        raise LookupError(f"there is no {name}")

    def stop(self) -> None:
        if self.cluster is not None:
            for node in [*self.nodes, self.cluster.head_node]:
                self.cluster.remove_node(node, allow_graceful=False)
            self.cluster, self.nodes = None, []

    def close(self) -> None:
        """No process is left, those included that notice late that their raylet is gone."""
        below = psutil.Process().children(recursive=True)
        self.stop()
        for process in below:
            with contextlib.suppress(psutil.Error):  # it has ended
                process.kill()
        self._folder.cleanup()
