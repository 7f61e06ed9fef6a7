"""The pins: each has the hashes of its files, and all files agree; the image's Truss reads them."""

import importlib.util
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from riffusion.serving.local.bundle_context import _truss, read_config

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in ROOT.glob("requirements*.txt"))
FOR_TRUSS = "requirements.txt"
"""The bundle's `requirements_file`, the one without hashes."""
TAGGER = "requirements-tagger.txt"
"""Weights, not made by `make requirements`."""
RAY = "requirements-ray.txt"
"""For an environment of its own, since Ray Serve needs a newer starlette than Truss."""
_SPEC = importlib.util.find_spec("truss")
assert _SPEC is not None
assert _SPEC.origin is not None
TEMPLATE = Path(_SPEC.origin).parent / "templates/server/requirements.txt"
NOT_NEEDED_BY_THE_SERVER = {"cython"}
BLOCK_ALL_BUT = """
import importlib.abc, importlib.metadata, re, sys
pinned = set(sys.argv[1].split())
packages = importlib.metadata.packages_distributions()
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        owners = {re.sub(r"[-_.]+", "-", owner).lower() for owner in packages.get(name, ())}
        if owners and not owners & pinned and name != "riffusion":
            raise ModuleNotFoundError(f"{name} is not pinned", name=name)
sys.meta_path.insert(0, Blocked())
import os, uvicorn
from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.local.gateway_server import GatewayServer
from riffusion.serving.local.serve import serve
from riffusion.generation.seed_library import SeedLibrary
from riffusion.cli.app import app
from riffusion.serving import tracing
create_gateway(Endpoint("http://model:8080"), library=SeedLibrary.default(None))
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
tracing.configure_tracing("riffusion-gateway")
assert tracing._provider is not None
print("torch" in sys.modules, "truss" in sys.modules)
"""
"""Builds the gateway, and records its spans, with the packages of its requirements alone."""


def entries(name: str) -> list[str]:
    """A file's requirements, each with the lines that continue it."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(name: str) -> list[Requirement]:
    """A file's pins; a package may have several, for different versions of Python."""
    return [Requirement(entry.partition(" --hash")[0]) for entry in entries(name)]


def by_name(name: str) -> dict[str, set[str]]:
    """The versions that a file pins of each package."""
    found: dict[str, set[str]] = {}
    for requirement in pins(name):
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_pin_has_hashes_and_no_address(name: str) -> None:
    for entry in entries(name):
        pin, *hashes = entry.split("--hash=")
        assert re.match(r"^[a-z0-9][a-z0-9.-]*==[^ ;]+( ;|\s*$)", pin), entry
        digests = [value.strip() for value in hashes]
        assert bool(digests) == (name != FOR_TRUSS), entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in digests), entry
        assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("name", [name for name in FILES if name not in (TAGGER, RAY)])
def test_all_files_pin_what_the_development_environment_pins(name: str) -> None:
    everything = by_name("requirements-dev.txt")
    for package, versions in by_name(name).items():
        assert versions <= everything[package], package


def test_ray_s_replicas_have_the_pins_that_the_bundle_has() -> None:
    """Then both make the same clips."""
    ours, bundle = by_name(RAY), by_name(FOR_TRUSS)
    common = ours.keys() & bundle.keys()
    assert {"numpy", "onnxruntime", "pillow", "pydantic", "av", "scipy"} <= common
    assert [name for name in common if ours[name] != bundle[name]] == []


def test_the_image_s_file_has_the_pins_that_truss_reads() -> None:
    ours, with_hashes = by_name(FOR_TRUSS), by_name("requirements-image.txt")
    assert ours.items() <= with_hashes.items()


def test_the_image_s_file_has_all_that_the_truss_server_needs() -> None:
    """Then nothing is left for the line of the Dockerfile that installs without hashes."""
    ours = by_name("requirements-image.txt")
    lines = TEMPLATE.read_text(encoding="utf-8").splitlines()
    wanted = [line.partition("#")[0].strip() for line in lines if not line.startswith(("#", "-"))]
    checked = set()
    for requirement in map(Requirement, filter(None, wanted)):
        name = canonicalize_name(requirement.name)
        if name in NOT_NEEDED_BY_THE_SERVER:
            continue
        versions = {version.removeprefix("==") for version in ours[name]}
        assert name == "numpy" or all(map(requirement.specifier.contains, versions)), name
        checked.add(name)
    assert {"numpy", "fastapi", "uvicorn", "truss-transfer"} <= checked


def test_truss_leaves_out_its_numpy_for_ours_only_because_there_are_no_hashes() -> None:
    """If this fails, Truss reads lines with hashes, and requirements.txt may have them."""
    with _truss():
        from truss.contexts.image_builder.serving_image_builder import _subtract_user_requirements

    template = TEMPLATE.read_text(encoding="utf-8")
    plain = read_config(ROOT).load_requirements_from_file(ROOT)
    assert "\nnumpy>" in template
    assert "\nnumpy>" not in _subtract_user_requirements(template, plain)
    with_hashes = (ROOT / "requirements-image.txt").read_text(encoding="utf-8").splitlines()
    assert "\nnumpy>" in _subtract_user_requirements(template, with_hashes)


def test_the_gateway_needs_only_what_its_file_pins() -> None:
    command = [sys.executable, "-c", BLOCK_ALL_BUT, " ".join(by_name("requirements-gateway.txt"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "False"]


def test_what_is_installed_is_what_is_pinned() -> None:
    """Licences and the bill of materials are read from what is installed."""
    for requirement in pins("requirements-dev.txt"):
        if requirement.marker is None or requirement.marker.evaluate():
            assert metadata.version(requirement.name) in requirement.specifier, requirement.name
