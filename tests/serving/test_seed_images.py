"""The gateway's seed images and masks."""

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image

from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.local.gateway_server import GatewayServer
from riffusion.spectrogram.params import SpectrogramParams
from tests.patience import PATIENCE_S
from tests.serving.conftest import free_port


@pytest.fixture(scope="module")
def gateway() -> Iterator[httpx.Client]:
    app = create_gateway(Endpoint(f"http://127.0.0.1:{free_port()}"), library=SeedLibrary.default())
    with (
        GatewayServer(app) as server,
        httpx.Client(base_url=server.base_url, timeout=PATIENCE_S, trust_env=False) as client,
    ):
        yield client


def test_the_ids_are_those_of_the_library(gateway: httpx.Client) -> None:
    library = SeedLibrary.default()
    assert gateway.get("/seed_images").json() == {"seed_images": list(library.seed_image_ids)}
    assert gateway.get("/masks").json() == {"masks": list(library.mask_image_ids)}


def test_images_have_the_librarys_pixels_and_parameters(gateway: httpx.Client) -> None:
    answer = gateway.get("/seed_images/og_beat.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    image = Image.open(io.BytesIO(answer.content))
    np.testing.assert_array_equal(
        np.asarray(image.convert("RGB")), np.asarray(SeedLibrary.default().seed_image("og_beat"))
    )
    assert SpectrogramParams.from_exif(image.getexif()) == SpectrogramParams()


def test_masks_are_not_seed_images(gateway: httpx.Client) -> None:
    assert gateway.get("/masks/mask_gradient_dark.png").status_code == 200
    assert gateway.get("/seed_images/mask_gradient_dark.png").status_code == 404
    assert gateway.get("/masks/og_beat.png").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/seed_images/nope.png",
        "/seed_images/og_beat",
        "/seed_images/../../data/manifest.json",
        "/seed_images/%2e%2e%2fmasks%2fmask_gradient_dark.png",
        "/seed_images/%00.png",
    ],
)
def test_other_paths_are_404(gateway: httpx.Client, path: str) -> None:
    answer = gateway.get(path)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


def test_without_a_library_there_are_no_images() -> None:
    app = create_gateway(Endpoint(f"http://127.0.0.1:{free_port()}"))
    with GatewayServer(app) as server:
        url = f"{server.base_url}/seed_images"
        assert httpx.get(url, timeout=PATIENCE_S, trust_env=False).status_code == 404
