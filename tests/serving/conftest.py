"""One real Truss server with the embedded checkpoint for all tests here, and a gateway."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.local.gateway_server import GatewayServer
from riffusion.serving.local.truss_server import LocalTrussServer
from tests.patience import PATIENCE_S

BUNDLE_DIR = Path(__file__).parents[2]
TIMEOUT_S = PATIENCE_S

MINI_MODEL = """
class Model:
    def load(self):
        {load}

    def predict(self, inputs):
        return inputs
"""


def free_port() -> int:
    """A TCP port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_mini_bundle(directory: Path, load: str = "pass", config: str = "") -> Path:
    """A Truss bundle without Riffusion, which starts within a second."""
    (directory / "model").mkdir(parents=True)
    (directory / "model/model.py").write_text(MINI_MODEL.format(load=load))
    (directory / "config.yaml").write_text(f"model_name: mini\npython_version: py311\n{config}")
    return directory


@pytest.fixture(scope="session")
def server_log() -> list[str]:
    return []


@pytest.fixture(scope="session")
def server_spans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the server writes its spans to."""
    return tmp_path_factory.mktemp("spans") / "spans.jsonl"


@pytest.fixture(scope="session")
def truss_server(server_log: list[str], server_spans: Path) -> Iterator[LocalTrussServer]:
    server = LocalTrussServer(
        BUNDLE_DIR,
        port=free_port(),
        environment={
            "RIFFUSION_MAX_LIVE": "2",
            "RIFFUSION_MAX_WAITING": "2",
            "OMP_NUM_THREADS": "1",
            "RIFFUSION_TRACE_FILE": str(server_spans),
            "OTEL_BSP_SCHEDULE_DELAY": "100",  # milliseconds
        },
        on_log_line=server_log.append,
    )
    with server:
        yield server


@pytest.fixture(scope="session")
def gateway_url(truss_server: LocalTrussServer) -> Iterator[str]:
    app = create_gateway(Endpoint(truss_server.predict_url, retry_budget_s=0))
    with GatewayServer(app) as gateway:
        yield gateway.base_url


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def good_request() -> dict[str, Any]:
    return {
        "start": {"prompt": "church bells", "seed": 42},
        "end": {"prompt": "jazz piano", "seed": 123, "denoising": 0.8},
        "alpha": 0.25,
        "num_inference_steps": 3,
        "seed_image_id": "og_beat",
    }


@pytest.fixture(scope="session")
def good_answer(
    truss_server: LocalTrussServer, client: httpx.Client, good_request: dict[str, Any]
) -> httpx.Response:
    """The server's response to `good_request`."""
    return client.post(truss_server.predict_url, json=good_request)
