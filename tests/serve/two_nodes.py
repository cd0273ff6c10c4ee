"""The service on a cluster of two nodes and a head, of which the node with a frontend is lost. Prints what happened as JSON.

python -m tests.serve.two_nodes MODEL PORT
"""

import json
import sys
import time

import ray
from ray import serve
from ray._private.state import actors
from ray.cluster_utils import Cluster

from ms2sl.client import Client
from serve.app import build

SECONDS, PATIENCE = 10, 60  # of requests after the loss, and until Ray must know of it


def frontends() -> list[str]:
    """The nodes of those that live."""
    alive = [actor for actor in actors().values() if actor["State"] == "ALIVE"]
    return [actor["Address"]["NodeID"] for actor in alive if actor["ActorClassName"].endswith(":Frontend")]


def main() -> None:
    model, port = sys.argv[1], int(sys.argv[2])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 2**27})
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=2**27) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    serve.run(build({"model": model, "sampling.steps": "2", "precision": "fp32", "min_replicas": 2, "cpus": 0.5}))
    client, before, took = Client(f"http://127.0.0.1:{port}"), frontends(), []
    client.sign("cab")
    cluster.remove_node(next(node for node in nodes if node.node_id == before[0]), allow_graceful=False)
    lost = time.monotonic()
    while (since := time.monotonic() - lost) < SECONDS or (before[0] in frontends() and since < PATIENCE):
        began = time.monotonic()
        client.sign("cab")
        took.append(time.monotonic() - began)
    print(json.dumps({"before": before, "lost": before[0], "after": frontends(), "answered": len(took), "slowest": max(took)}))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
