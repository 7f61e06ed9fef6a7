"""The web app's request, data of an answer, and waiting for a server's log and metrics."""

import base64

import httpx

from riffusion.serving.local.truss_server import LocalTrussServer
from tests.patience import wait_until

WEB_APP_REQUEST = (
    '{"alpha":0.25,"num_inference_steps":50,"seed_image_id":"og_beat","mask_image_id":null,'
    '"start":{"prompt":"church bells","seed":8730,"denoising":0.75,"guidance":7},'
    '"end":{"prompt":"church bells","seed":8731,"denoising":0.75,"guidance":7}}'
)
"""A request of the public Riffusion web app."""


def data_of(url: str, media_type: str) -> bytes:
    prefix = f"data:{media_type};base64,"
    assert url.startswith(prefix)
    return base64.b64decode(url[len(prefix) :], validate=True)  # rejects line breaks


def wait_for_line(log: list[str], start: int, part: str) -> None:
    wait_until(lambda: any(part in line for line in log[start:]), f"no {part!r} in the log")


def wait_for_running_clips(count: int, client: httpx.Client, server: LocalTrussServer) -> None:
    line = f"riffusion_live_jobs {float(count)}"
    url = f"{server.base_url}/metrics/"
    wait_until(lambda: line in client.get(url).text.splitlines(), f"not {count} clips that run")
