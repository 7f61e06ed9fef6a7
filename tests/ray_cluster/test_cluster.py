"""The service on a cluster of two nodes: the same answers, and none is lost when replicas die.

The tests share one cluster and run in this order, from one replica to two and back.
"""

import asyncio
import functools
import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import HTTPException
from prometheus_client.parser import text_string_to_metric_families

from riffusion.datatypes import LoraInput
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.serving.addresses import READY_PATH
from riffusion.serving.model.clip_service import ClipService
from riffusion.serving.model.request_body import InferenceRequest
from riffusion.serving.ray.affinity import lora_group, preferred_replica
from tests.needs import ROOT
from tests.patience import PATIENCE_S, wait_until
from tests.ray_cluster.conftest import (
    MAX_ONGOING,
    MAX_QUEUED,
    MAX_REPLICAS,
    NUM_INGRESSES,
    RayCluster,
)
from tests.ray_cluster.groups import LORAS, NUM_REPLICAS
from tests.serving.gateways import gateway_to

Body = dict[str, Any]
LONG_STEPS = 25
LOAD_STEPS = 8
DONE = b'riffusion_clips_total{outcome="done",replica="'
REPLICA_DIED = "the replica that made the clip died in the middle of the stream; try again"


def short(seed: int, **fields: Any) -> Body:
    return {"start": {"prompt": "church bells", "seed": seed}, "preset": "instant", **fields}


def long(seed: int, **fields: Any) -> Body:
    prompt = {"prompt": "jazz piano", "seed": seed}
    steps = {"num_inference_steps": LONG_STEPS, "scheduler": "ddim"}
    return {"start": prompt, "mode": "txt2img", **steps, **fields}


@pytest.fixture(scope="module")
def single() -> Iterator[ClipGenerator]:
    """The same checkpoint and engine in this process."""
    generator = ClipGenerator.load(engine="light")
    yield generator
    generator.close()


def clip_of(generator: ClipGenerator, body: Body) -> Body:
    """The clip that one `ClipService` makes."""

    async def make() -> Body:
        job = await ClipService(generator).submit(InferenceRequest.parse(body))
        return (await job.result(lambda: False)).model_dump()

    return asyncio.run(make())


def refusal_of(generator: ClipGenerator, body: bytes) -> str:
    """The error with which one `ClipService` refuses a body."""

    async def refuse() -> str:
        try:
            inputs = InferenceRequest.parse_raw(body)
            await ClipService(generator).submit(inputs)
        except HTTPException as error:
            return str(error.detail)
        except InputError as error:
            return str(error)
        raise AssertionError("the body is valid")

    return asyncio.run(refuse())


def post(url: str, body: Body | bytes) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    return httpx.post(url, content=content, headers=headers, timeout=PATIENCE_S, trust_env=False)


def events_of(response: httpx.Response) -> list[Body]:
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.content.splitlines()]


@contextmanager
def running_stream(url: str, body: Body) -> Iterator[Iterator[str]]:
    """The lines of a stream after its first one."""
    with httpx.stream("POST", url, json=body, timeout=PATIENCE_S, trust_env=False) as response:
        lines = response.iter_lines()
        assert json.loads(next(lines))["event"] == "progress"
        yield lines


def metric(cluster: RayCluster, name: str, **labels: str) -> float:
    """Sum of a metric over the replicas."""
    page = httpx.get(f"{cluster.base_url}/metrics/", timeout=PATIENCE_S, trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_clips_are_those_of_a_single_service(
    ray_cluster: RayCluster, single: ClipGenerator
) -> None:
    for body in (short(42), short(43, end={"prompt": "jazz", "seed": 5}, alpha=0.25)):
        response = post(ray_cluster.predict_url, body)
        assert response.status_code == 200, response.text
        assert response.json() == clip_of(single, body)
        assert "diffusion;dur=" in response.headers["server-timing"]


def test_a_stream_ends_in_the_same_clip(ray_cluster: RayCluster, single: ClipGenerator) -> None:
    events = events_of(post(ray_cluster.predict_url, short(42, stream=True)))
    *progress, result = events
    assert [event["event"] for event in progress] == ["progress"] * len(progress) != []
    assert progress[-1]["step"] == progress[-1]["steps"]
    assert result.pop("timings")["diffusion"] > 0
    assert result == {"event": "result", **clip_of(single, short(42))}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"start": {"prompt": "bells"}}',
        json.dumps(short(1, alpha=2)).encode(),
        json.dumps(short(1, seed_image_id="no such image")).encode(),
        json.dumps(short(1, init_audio="AAAA")).encode(),
        json.dumps(short(1, mask_image_id="no such mask", stream=True)).encode(),
    ],
)
def test_invalid_requests_are_refused_like_by_a_single_service(
    body: bytes, ray_cluster: RayCluster, single: ClipGenerator
) -> None:
    response = post(ray_cluster.predict_url, body)
    assert (response.status_code, response.json()) == (400, {"error": refusal_of(single, body)})


def test_a_replica_takes_half_a_gpu(ray_cluster: RayCluster) -> None:
    num_nodes = 1 + len(ray_cluster.ask("nodes"))
    assert ray_cluster.ask("gpus") == [num_nodes, num_nodes - 0.5]


def test_deadlines(ray_cluster: RayCluster) -> None:
    message = "not done within deadline_s=0.5"
    response = post(ray_cluster.predict_url, long(1, deadline_s=0.5))
    assert (response.status_code, response.json()) == (504, {"error": message})
    with running_stream(ray_cluster.predict_url, long(1, stream=True)):
        streamed = post(ray_cluster.predict_url, long(2, stream=True, deadline_s=3))
    if streamed.status_code == 200:
        assert events_of(streamed)[-1] == {
            "event": "error",
            "error": "not done within deadline_s=3",
        }
    else:  # a slow machine: the first event took longer
        assert streamed.status_code == 504


def test_the_gateway_finds_a_truss_server_there(
    ray_cluster: RayCluster, single: ClipGenerator
) -> None:
    with gateway_to(ray_cluster.predict_url) as client:
        assert client.get("/health").json()["status"] == "ok"
        assert client.get("/info").json()["distillation"]["max_steps"] == 8
        wait_until(lambda: DONE in client.get("/metrics").content, "no metrics", 0.2)
        response = client.post("/run_inference/", json=short(42))
        assert response.json() == clip_of(single, short(42))
        refused = client.post("/run_inference/", json={"start": {}})
        assert refused.status_code == 400


def test_web_pages_are_sent_to_the_gateway(ray_cluster: RayCluster) -> None:
    headers = {"Origin": "https://page.example"}
    response = httpx.post(
        ray_cluster.predict_url, json=short(1), headers=headers, timeout=PATIENCE_S, trust_env=False
    )
    assert response.status_code == 403


def test_a_client_that_leaves_stops_its_clip(ray_cluster: RayCluster) -> None:
    cancelled = metric(ray_cluster, "riffusion_clips_total", outcome="cancelled")
    with running_stream(ray_cluster.predict_url, long(3, stream=True)):
        pass
    wait_until(
        lambda: metric(ray_cluster, "riffusion_clips_total", outcome="cancelled") > cancelled,
        "the clip is still being made",
        poll_s=0.2,
    )


def test_a_killed_replica_loses_no_accepted_request(
    ray_cluster: RayCluster, single: ClipGenerator
) -> None:
    wait_until(lambda: ray_cluster.replicas == {"RUNNING": 1}, "never one replica", 0.5)
    with ThreadPoolExecutor() as threads:
        begun = metric(ray_cluster, "riffusion_live_jobs")
        answer = threads.submit(post, ray_cluster.predict_url, long(4))
        wait_until(
            lambda: metric(ray_cluster, "riffusion_live_jobs") > begun, "it has not begun", 0.2
        )
        with running_stream(ray_cluster.predict_url, long(5, stream=True)) as lines:
            (pid,) = ray_cluster.ask("pids").values()
            os.kill(pid, signal.SIGKILL)
            *_, last = lines
        assert json.loads(last) == {"event": "error", "error": REPLICA_DIED}
        assert answer.result().status_code == 200
        assert answer.result().json() == clip_of(single, long(4))
    wait_until(lambda: ray_cluster.ask("pids"), "it is not replaced", 0.5)
    assert pid not in ray_cluster.ask("pids").values()


@contextmanager
def load(url: str, at_least: int = 1) -> Iterator[None]:
    """As many clients as one replica has room for, each with one request after another.

    Args:
        url: where the requests go.
        at_least: answers that each client gets after the end.
    """
    stop = threading.Event()

    def ask_again_and_again(seed: int) -> set[int]:
        statuses = set()
        num_last = 0
        while not stop.is_set() or num_last < at_least:
            num_last += stop.is_set()
            statuses.add(post(url, long(seed, num_inference_steps=LOAD_STEPS)).status_code)
        return statuses

    with ThreadPoolExecutor() as threads:
        clients = [threads.submit(ask_again_and_again, seed) for seed in range(MAX_ONGOING)]
        try:
            yield
        finally:
            stop.set()
        assert set.union(*(client.result() for client in clients)) == {200}


def test_the_same_loras_go_to_the_same_replica(ray_cluster: RayCluster) -> None:
    found = ray_cluster.ask("groups")
    replicas = [json.loads(answer)["replica"] for answer in found.pop("none")]
    assert len(replicas) == NUM_REPLICAS
    for group, (answer,) in found.items():
        loras = [LoraInput.model_validate(values) for values in LORAS[group]]
        assert json.loads(answer)["replica"] == preferred_replica(lora_group(loras), replicas)


def test_a_full_replica_is_ready_and_shows_its_metrics(ray_cluster: RayCluster) -> None:
    with load(ray_cluster.predict_url):
        wait_until(lambda: metric(ray_cluster, "riffusion_live_jobs") == MAX_ONGOING, "no", 0.2)
        ready_url = f"{ray_cluster.base_url}{READY_PATH}"
        assert httpx.get(ready_url, timeout=PATIENCE_S, trust_env=False).status_code == 200


def test_load_adds_a_replica_on_the_other_node(ray_cluster: RayCluster) -> None:
    with load(ray_cluster.predict_url):
        wait_until(lambda: ray_cluster.replicas == {"RUNNING": MAX_REPLICAS}, "no more", 0.5)
        wait_until(lambda: len(ray_cluster.ask("pids")) == MAX_REPLICAS, "not on both nodes", 0.5)


def test_requests_beyond_the_queue_are_answered_with_503(ray_cluster: RayCluster) -> None:
    num_accepted = MAX_ONGOING * MAX_REPLICAS + MAX_QUEUED * NUM_INGRESSES
    with ThreadPoolExecutor(num_accepted + 2) as threads:
        ask = functools.partial(post, ray_cluster.predict_url)
        answers = list(threads.map(ask, map(long, range(num_accepted + 2))))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 2 <= len(refused) < len(answers)
    for answer in refused:
        retry_after_s = int(answer.headers["retry-after"])
        assert retry_after_s >= 1
        message = f"too many requests are waiting; try again in {retry_after_s} s"
        assert (answer.status_code, answer.json()) == (503, {"error": message})


def test_an_update_under_load_loses_no_request(ray_cluster: RayCluster) -> None:
    before = set(ray_cluster.ask("pids").values())
    with load(ray_cluster.predict_url):
        ray_cluster.ask("update")
        wait_until(
            lambda: before.isdisjoint(ray_cluster.ask("pids").values()), "old ones are left", 0.5
        )
        assert ray_cluster.ask("pids")


def test_a_drained_node_loses_no_request(ray_cluster: RayCluster) -> None:
    """Its replicas finish what they have while others begin elsewhere. Then it can be stopped."""
    (node,) = ray_cluster.ask("nodes")
    with load(ray_cluster.predict_url):
        wait_until(lambda: node in ray_cluster.ask("pids"), "no replica on it", 0.5)
        added = ray_cluster.ask("add")
        ray_cluster.ask(f"drain {node}")
        wait_until(lambda: node not in ray_cluster.ask("pids"), "its replica is left", 0.5)
        wait_until(lambda: added in ray_cluster.ask("pids"), "it is not replaced", 0.5)
        wait_until(lambda: ray_cluster.ingresses == {"RUNNING": NUM_INGRESSES}, "no ingress", 0.5)
        ray_cluster.ask(f"stop {node}")


def test_a_node_that_is_stopped_without_notice_loses_no_request(ray_cluster: RayCluster) -> None:
    """Replicas are made up for by the ingress, and a lost ingress by the gateway."""
    (node,) = ray_cluster.ask("nodes")
    with (
        gateway_to(ray_cluster.predict_url, retry_budget_s=PATIENCE_S) as gateway,
        load(f"{gateway.base_url}/run_inference/", at_least=2),
    ):
        wait_until(lambda: node in ray_cluster.ask("pids"), "no replica on it", 0.5)
        ray_cluster.ask(f"stop {node}")
        ray_cluster.ask("add")  # else what Serve begins in its place has no room
        wait_until(lambda: node not in ray_cluster.ask("pids"), "its replica is left", 0.5)


def test_the_gateway_waits_while_a_killed_proxy_is_started_again(ray_cluster: RayCluster) -> None:
    with gateway_to(ray_cluster.predict_url, retry_budget_s=PATIENCE_S) as gateway:
        url = f"{gateway.base_url}/run_inference/"
        assert post(url, short(1)).status_code == 200
        proxy = ray_cluster.proxy
        proxy.kill()
        proxy.wait(PATIENCE_S)
        assert post(url, short(2)).status_code == 200


def test_idle_replicas_are_removed(ray_cluster: RayCluster) -> None:
    wait_until(lambda: ray_cluster.replicas == {"RUNNING": 1}, "never one replica", 0.5)
    assert post(ray_cluster.predict_url, short(42)).status_code == 200


def test_the_configuration_is_one_that_serve_accepts(ray_cluster: RayCluster) -> None:
    names = ray_cluster.ask(f"config {ROOT / 'deploy/ray/serve.yaml'}")
    assert names == ["clips", "ingress"]
