"""Clusters that grow and clusters that do not: each lives in a namespace of processes, which end with the first of them."""

import json
import os
import re
import subprocess
import sys

import pytest
from ray.autoscaler._private.monitor import BASE_READONLY_CONFIG  # which has all that a configuration must have

from benchmarks.service import reserved_port
from tests.jobs.nodes import ANY_PORTS, short_folder

pytestmark = pytest.mark.slow
HEAD = "f" * 51 + "00000"
SCALING = BASE_READONLY_CONFIG | {
    "cluster_name": "growing",
    "max_workers": 1,
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "launch_multiple": True,
        "head_node_id": HEAD,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
        "gpu": {
            "resources": {"CPU": 2, "GPU": 2, "object_store_memory": 100_000_000},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 1,
        },
    },
    "head_node_type": "ray.head.default",
}
DRIVER = """
import subprocess, sys, time

head = sys.argv[1]
log = subprocess.DEVNULL
subprocess.Popen(f"for attempt in 1 2 3; do {head}; done", shell=True, stdout=log, stderr=log)  # a busy machine may be too late for Ray

import ray
from tqdm import tqdm
from jobs.machines import check_resources
from jobs import waiting
from jobs.cli import start_ray
from ms2sl.errors import InputError
waiting.STILL, waiting.INTERVAL = 0.2, 0.1

while not ray.is_initialized():
    try:
        start_ray()
    except InputError:
        time.sleep(0.5)
try:
    check_resources(2, gpus=1)
except InputError as error:
    sys.exit(f"error: {error}")

@ray.remote(num_gpus=1)
def ran():
    return ray.cluster_resources()["GPU"]

with tqdm(total=1) as bar:
    waiting.watch(bar)
    print("GPUs:", ray.get(ran.remote()))
"""


def ask(scaling: dict | None) -> subprocess.CompletedProcess:
    """Asks for two workers with a GPU each on a cluster of a head with two CPUs, whose autoscaler has the configuration, if any.

    As on KubeRay, the head has an autoscaler of version 2 and a node type in both cases.
    """
    isolated = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    tried = subprocess.run([*isolated, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"namespaces of processes are not permitted here: {tried.stderr.strip()}")
    with reserved_port() as port, reserved_port() as clients, short_folder() as temporary:
        head = f"env RAY_FAKE_CLUSTER=1 RAY_enable_autoscaler_v2=1 RAY_NODE_TYPE_NAME=ray.head.default RAY_CLOUD_INSTANCE_ID={HEAD} "
        head += f"RAY_OVERRIDE_NODE_ID_FOR_TESTING={HEAD} AUTOSCALER_UPDATE_INTERVAL_S=1 {sys.executable} -m ray.scripts.scripts start "
        head += f"--head --block --port={port} --num-cpus=2 --num-gpus=0 --temp-dir={temporary} --include-dashboard=false "
        head += f"--disable-usage-stats --object-store-memory=100000000 --ray-client-server-port={clients} {ANY_PORTS}"
        address = f"127.0.0.1:{port}"
        if scaling:
            with open(f"{temporary}/scaling.json", "w") as file:
                json.dump(scaling | {"provider": scaling["provider"] | {"gcs_address": address}}, file)
            head += f" --autoscaling-config={temporary}/scaling.json"
        plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")} | {"RAY_ADDRESS": address}
        command = [*isolated, sys.executable, "-c", DRIVER, head]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env=plain)


def test_a_job_waits_for_the_gpus_that_an_autoscaler_brings():
    ended = ask(SCALING)
    assert ended.returncode == 0, ended.stderr
    assert "GPUs: 2.0" in ended.stdout
    assert re.search(r"waiting since \d\d:\d\d \(\d+ s\) for 1 x 1 CPU \+ 1 GPU; free: \S+ of 2 CPUs, 0 of 0 GPUs", ended.stderr)


def test_a_job_for_gpus_is_refused_where_none_can_come():
    ended = ask(None)
    assert ended.returncode == 1
    said = ended.stderr.strip().splitlines()[-1]
    assert said == "error: 2 workers need 2 GPUs, but the cluster has 0 GPUs and does not autoscale: add a node that has GPUs"
