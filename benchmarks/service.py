"""The service as a process of its own, as an operator starts it."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
import yaml

PATIENCE = 120  # seconds
HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that a server can listen on and that nobody else is given meanwhile: it is bound, as servers do it, and does not listen."""
    with socket.socket() as bound:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):  # the former is asyncio's and gRPC's, the latter that of Ray's proxy
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(("", 0))
        yield bound.getsockname()[1]


@contextmanager
def running(model: Path, environment: Mapping[str, str] | None = None, **options) -> Iterator[str]:
    """Yields the URL of the application, which has these options."""
    every = "RAY_SERVE_ENABLE_HA_PROXY" in (environment or {})
    application = {"name": "ms2sl", "import_path": "serve.app:build", "args": {"model": str(model.absolute())} | options}
    with ExitStack() as reserved, tempfile.TemporaryDirectory() as folder:
        port = reserved.enter_context(reserved_port())
        if every:
            reserved.close()  # HAProxy listens where nobody else is bound
        # Behind HAProxy Ray binds to all interfaces and refuses anything else.
        config = {"http_options": {"port": port, "host": "0.0.0.0" if every else "127.0.0.1"}, "applications": [application]}
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        with (Path(folder) / "log").open("w") as log:
            serve = shutil.which("serve", path=str(Path(sys.executable).parent)) or "serve"
            process = subprocess.Popen(
                [serve, "run", str(path)],
                stdout=log,
                stderr=log,
                env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "local"} | (environment or {}),
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            until_ready(f"{url}/v1/health", process, Path(folder) / "log")
            yield url
        finally:
            process.terminate()
            process.wait(60)


def until_ready(url: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(2 * PATIENCE):
        if process.poll() is not None:
            sys.exit(f"the service did not start:\n{log.read_text()[-2000:]}")
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.5)
    sys.exit(f"the service was not ready after {PATIENCE} s:\n{log.read_text()[-2000:]}")
