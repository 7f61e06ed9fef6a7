"""What deploy/kubernetes and the gateway's image start: pods, variables, arguments."""

import functools
import json
from pathlib import Path
from typing import Any

import typer
from fastapi import FastAPI
from starlette.routing import Match

from riffusion.cli.app import app as command_line
from tests.deploy.kustomize import Manifest, build

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"


@functools.cache
def built(name: str) -> list[Manifest]:
    return build(FOLDER / name)


def one(folder: str, kind: str, name: str) -> Manifest:
    (found,) = (
        manifest
        for manifest in built(folder)
        if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
    )
    return found


def deployment(part: str, folder: str = "base") -> tuple[dict[str, Any], dict[str, Any]]:
    """A deployment's pod, and its container."""
    pod = one(folder, "Deployment", f"riffusion-{part}")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


def has_route(app: FastAPI, path: str) -> bool:
    scope = {"type": "http", "method": "GET", "path": path}
    return any(route.matches(scope)[0] == Match.FULL for route in app.routes)


def image_arguments() -> list[str]:
    """Arguments of `riffusion` in the entry point of the gateway's image."""
    lines = (ROOT / "deploy/gateway.Dockerfile").read_text(encoding="utf-8").splitlines()
    (entry,) = (line for line in lines if line.startswith("ENTRYPOINT "))
    command = json.loads(entry.removeprefix("ENTRYPOINT "))
    assert command[:4] == ["python", "-m", "riffusion", "serve"]
    return command[4:]


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What `riffusion serve` understands of its arguments."""
    command = typer.main.get_command(command_line).commands["serve"]  # type: ignore[attr-defined]
    with command.make_context("serve", list(arguments)) as context:
        return dict(context.params)
