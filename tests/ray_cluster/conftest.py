"""One Ray cluster of two nodes with the embedded checkpoint for all tests here."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.needs import ROOT, need_ray, ray_python
from tests.ray_cluster.small_nodes import PATIENT
from tests.serving.conftest import free_port

START_ATTEMPTS = 3
"""Ray waits 30 s for each part of a node, which may be too short on a busy machine."""
CLUSTER = Path(__file__).with_name("cluster.py")
MAX_ONGOING = 2
MAX_QUEUED = 2
MAX_REPLICAS = 2
NUM_INGRESSES = 2
OPTIONS = {
    "max_ongoing_requests": MAX_ONGOING,
    "max_queued_requests": MAX_QUEUED,
    "autoscaling_config": {
        "min_replicas": 1,
        "max_replicas": MAX_REPLICAS,
        "target_ongoing_requests": 1,
        "upscale_delay_s": 5,  # the tests before the load begin no more replicas
        "downscale_delay_s": 10,
        "metrics_interval_s": 0.5,
        "look_back_period_s": 1,
    },
}


class RayCluster:
    """`cluster.py` as a child process; as a context manager it runs inside."""

    def __init__(self, log: Path) -> None:
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        self.predict_url = f"{self.base_url}/v1/models/model:predict"
        self._log = log.open("wb")
        self._lock = threading.Lock()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "packages"), str(ROOT)]),
            "RIFFUSION_ENGINE": "light",
            "OMP_NUM_THREADS": "1",
            **PATIENT,
            "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # 10 by default; docs/ray.md
        }
        self._command = [str(ray_python()), str(CLUSTER), str(port), json.dumps(OPTIONS)]
        self._environment = environment

    def __enter__(self) -> "RayCluster":
        for _ in range(START_ATTEMPTS):
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
            try:
                if self._line() == '{"ready": true}\n':
                    return self
            except BaseException:
                self.__exit__()
                raise
            self._process.communicate()
        self._log.close()
        raise AssertionError(f"the cluster does not start; {self._log.name} has the reason")

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._log.close()

    def ask(self, command: str) -> Any:
        """The answer to a command."""
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
            return self._answer()

    @property
    def replicas(self) -> dict[str, int]:
        """Numbers of replicas of `clips` by their state."""
        return dict(self.ask("status")["clips"]["replicas"])

    @property
    def ingresses(self) -> dict[str, int]:
        """Numbers of replicas of `ingress` by their state."""
        return dict(self.ask("status")["ingress"]["replicas"])

    @property
    def proxy(self) -> psutil.Process:
        """The process that takes HTTP requests."""
        processes = psutil.Process(self._process.pid).children(recursive=True)
        (proxy,) = [process for process in processes if _is_proxy(process)]
        return proxy

    def _answer(self) -> Any:
        line = self._line()
        assert line, f"the cluster has ended; {self._log.name} has the reason"
        return json.loads(line)

    def _line(self) -> str:
        """The next line; empty if the process has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def _is_proxy(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it has just ended
        return process.cmdline()[:1] == ["ray::ProxyActor"]
    return False


@pytest.fixture(scope="package")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    need_ray()
    with RayCluster(tmp_path_factory.mktemp("ray") / "cluster.log") as cluster:
        yield cluster
