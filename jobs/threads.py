"""How many threads an actor computes with, where several share the machines of a cluster."""

import math
import os

import ray


def threads_of_one(actors: int) -> int:
    """For one of so many actors: the cores of its own machine, shared with those that may be on it. Called in the actor."""
    machines = sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())
    return max(1, len(os.sched_getaffinity(0)) // math.ceil(actors / max(1, machines)))
