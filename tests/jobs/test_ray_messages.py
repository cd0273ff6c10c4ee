"""Ray publishes what happens to its machines, and drivers print it."""

import time

from ray._private.utils import publish_error_to_driver

DIED = """Raylet is terminated. Termination is unexpected. Possible reasons include: (1) SIGKILL by the user or system OOM killer.
Last 20 lines of the Raylet logs:
    [state-dump] 	NodeManagerService.grpc_server.FreeLocalObjects - 1 total (0 active)
"""


def test_that_a_machine_died_is_a_line(ray_cluster, capfd):
    shown, until = "", time.monotonic() + 30
    while "Raylet" not in shown and time.monotonic() < until:
        publish_error_to_driver("raylet_died", DIED, gcs_client=ray_cluster._private.worker.global_worker.gcs_client)
        time.sleep(0.5)
        shown += "".join(capfd.readouterr())
    assert "Ray: Raylet is terminated. Termination is unexpected.\n" in shown
    assert "state-dump" not in shown
    assert "OOM" not in shown
