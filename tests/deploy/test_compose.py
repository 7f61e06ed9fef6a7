"""deploy/compose.yaml and the gateway's Dockerfile: valid, hardened, and true of the servers.

Nothing is built or started here: there is no Docker where these tests run.
"""

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyOptions

from riffusion.checkpoint.source import TRUSS_MOUNT
from riffusion.runtime.gpu import REQUIRE_GPU
from riffusion.serving.addresses import DEFAULT_PORT, READY_PATH
from riffusion.serving.client import DEFAULT_TIMEOUT_S, Endpoint
from riffusion.serving.gateway.app import DEFAULT_PORT as GATEWAY_PORT
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.local.gateway_server import _STOP_TIMEOUT_S
from tests.deploy.manifests import deployment, environment, has_route, image_arguments, parsed

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = DEPLOY / "gateway.Dockerfile"


class Loader(yaml.SafeLoader):
    """Reads compose's `!reset` as its value."""


Loader.add_constructor("!reset", lambda _, node: {} if isinstance(node, yaml.MappingNode) else [])


def compose(name: str) -> dict[str, Any]:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.load(text, Loader)
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose("compose.yaml")["services"]
    return found


def with_variables(text: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cpu.yaml"])
def test_it_is_valid(name: str) -> None:
    text = with_variables((DEPLOY / name).read_text(encoding="utf-8"))
    options = PyOptions(apply_merge=True)
    options.from_yaml(text).validate()
    with pytest.raises(ValueError, match="memory_limit"):
        options.from_yaml(text.replace("mem_limit", "memory_limit"))


@pytest.mark.parametrize("name", ["model", "gateway"])
def test_containers_have_no_rights(name: str) -> None:
    service = services()[name]
    assert service["user"] == "60000:60000"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= service.keys()
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc"}
    (temporary,) = service["tmpfs"]
    assert re.fullmatch(r"/tmp:size=\d+[gm],mode=1777", temporary)
    assert all(volume["read_only"] for volume in service.get("volumes", ()))


def test_only_the_gateway_is_reached_from_this_machine() -> None:
    found = services()
    assert found["gateway"]["ports"] == [f"127.0.0.1:{GATEWAY_PORT}:{GATEWAY_PORT}"]
    assert "ports" not in found["model"]
    networks = compose("compose.yaml")["networks"]
    assert found["model"]["networks"] == ["inside"]
    assert networks["inside"]["internal"] is True


def test_it_is_what_the_servers_need() -> None:
    found = services()
    model, gateway = found["model"], found["gateway"]
    assert model["environment"] == environment(deployment("model")[1])
    (weights,) = model["volumes"]
    assert weights["target"] == str(TRUSS_MOUNT)
    assert f"http://127.0.0.1:{DEFAULT_PORT}{READY_PATH}" in model["healthcheck"]["test"][-1]
    (path,) = re.findall(
        rf"127\.0\.0\.1:{GATEWAY_PORT}(/[^']*)", gateway["healthcheck"]["test"][-1]
    )
    assert has_route(create_gateway(Endpoint("http://model:8080")), path)
    options = parsed([*image_arguments(), *gateway["command"]])
    assert Endpoint(options["endpoint"]).predict_url.host == "model"
    assert Endpoint(options["endpoint"]).predict_url.port == DEFAULT_PORT
    for service, drain_s in ((model, DEFAULT_TIMEOUT_S), (gateway, _STOP_TIMEOUT_S)):
        assert 5 <= int(service["stop_grace_period"].rstrip("s")) - drain_s <= 30


def test_without_a_gpu_nothing_else_changes() -> None:
    (name, changes), *others = compose("compose.cpu.yaml")["services"].items()
    assert (name, others) == ("model", [])
    assert changes.pop("environment") == {REQUIRE_GPU: "0"}
    assert changes.pop("mem_limit") == "8g"
    assert changes == {"volumes": [], "deploy": {}}
    assert changes.keys() <= services()["model"].keys()


def test_the_gateway_s_image_is_built_from_files_that_are_there() -> None:
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    sources = [name for names in copies if "--from=web" not in names for name in names]
    assert {"packages", "requirements-gateway.txt", "web"} <= set(sources)
    kept = (DEPLOY / "gateway.Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line.removeprefix("!") for line in kept if line.startswith("!")]
    for name in sources:
        assert (DEPLOY.parent / name).exists(), name
        assert any(fnmatch.fnmatch(name, f"{one}*") for one in allowed), name


def test_the_gateway_s_image_is_hardened() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert "--require-hashes -r /tmp/requirements.txt" in text
    assert "\nUSER 60000:60000\n" in text
    assert f"\nEXPOSE {GATEWAY_PORT}\n" in text
    (default,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    assert Endpoint(parsed([*image_arguments(), *json.loads(default)])["endpoint"])
