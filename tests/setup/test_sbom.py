"""`make sbom`: all that serves clips is in it, with licences and hashes, and it is valid."""

import hashlib
import json
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts import sbom
from tests.needs import need_node

ROOT = Path(__file__).parents[2]
FIRST_NPM_WITH_BILLS = 10
"""Its major version."""


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return sbom.bill()


def of_kind(bill: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [c for c in bill["components"] if c.get("purl", "").startswith(f"pkg:{kind}/")]


def is_installed(name: str, version: str) -> bool:
    try:
        return metadata.version(name) == version
    except metadata.PackageNotFoundError:
        return False


def test_it_has_what_the_images_install_here_and_nothing_else(bill: dict[str, Any]) -> None:
    pinned = {pin for file in sbom.REQUIREMENTS for pin in sbom.file_hashes(file)}
    found = {sbom._pin(component) for component in of_kind(bill, "pypi")}
    assert found <= pinned
    installed = {pin for pin in pinned if is_installed(*pin)}
    assert found == installed
    assert {"torch", "av", "httpx", "truss-transfer", "onnxruntime"} <= {name for name, _ in found}


def test_every_component_has_a_licence_and_hashes(bill: dict[str, Any]) -> None:
    for component in bill["components"]:
        assert component["licenses"], component["name"]
    for component in of_kind(bill, "pypi"):
        (reference,) = component["externalReferences"]
        assert all(len(file["content"]) == 64 for file in reference["hashes"])
        assert reference["hashes"], component["name"]


def test_edges_lead_to_components(bill: dict[str, Any]) -> None:
    known = {component["bom-ref"] for component in bill["components"]}
    edges = {edge["ref"]: set(edge["dependsOn"]) for edge in bill["dependencies"]}
    assert edges.pop(bill["metadata"]["component"]["bom-ref"]) == known
    assert edges.keys() <= known
    assert all(targets <= known for targets in edges.values())
    (torch,) = (ref for ref in edges if ref.startswith("torch=="))
    assert any(ref.startswith("sympy==") for ref in edges[torch])


def test_weights_are_there_by_hash(bill: dict[str, Any]) -> None:
    """The hashes of the graphs and weights are those that the manifest promises."""
    (checkpoint,) = [c for c in bill["components"] if c["name"] == "demo-checkpoint"]
    hashes = {file["name"]: file["hashes"][0]["content"] for file in checkpoint["components"]}
    files = {p for p in (ROOT / "data/demo-checkpoint").rglob("*") if p.is_file()}
    assert hashes.keys() == {str(path.relative_to(ROOT)) for path in files}
    manifest = json.loads((ROOT / "data/demo-checkpoint/manifest.json").read_text())
    assert len(manifest["files"]) >= 8
    for name, file in manifest["files"].items():
        assert hashes[f"data/demo-checkpoint/{name}"] == file["sha256"], name
    path = ROOT / "data/demo-checkpoint/model_index.json"
    assert hashes[str(path.relative_to(ROOT))] == hashlib.sha256(path.read_bytes()).hexdigest()
    (published,) = of_kind(bill, "huggingface")
    assert f"@{published['version']}" in (ROOT / "config.yaml").read_text()


def test_a_part_of_it_is_valid(bill: dict[str, Any]) -> None:
    """`make sbom` validates all of it, which takes many seconds."""
    kinds = ("pypi/torch", "pypi/transformers", "pypi/av", "pypi/numpy", "npm/three", "huggingface")
    some = [c for c in bill["components"] if any(k in c.get("purl", "") for k in kinds)]
    some += [c for c in bill["components"] if c["name"] == "demo-checkpoint"]
    assert len(some) >= len(kinds) + 1
    part = json.dumps({**bill, "components": some, "dependencies": bill["dependencies"][:3]})
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(part) is None
    assert validator.validate_str(part.replace("SHA-256", "SHA-257")) is not None


def test_the_web_app_s_packages_are_those_that_npm_says(bill: dict[str, Any]) -> None:
    need_node()
    assert npm_packages(said_by_npm("ls", "--all", "--json")) == {
        f"{component['name']}@{component['version']}" for component in of_kind(bill, "npm")
    }


def test_the_web_app_s_part_is_that_of_npm_s_own_bill(bill: dict[str, Any]) -> None:
    """It leaves out packages that packages for development need, too."""
    need_node()
    version = subprocess.check_output([npm(), "--version"], text=True)
    if int(version.split(".")[0]) < FIRST_NPM_WITH_BILLS:  # as in Debian 12
        pytest.skip(f"npm {version.strip()} writes no bills of materials; it does from 10 on")
    ours = {component["purl"]: component for component in of_kind(bill, "npm")}
    theirs = said_by_npm("sbom", "--sbom-format=cyclonedx")["components"]
    assert len(theirs) > 10
    for component in theirs:
        for field in ("name", "version", "hashes", "licenses"):
            assert ours[component["purl"]][field] == component[field]


def npm() -> str:
    return shutil.which("npm") or "npm"


def said_by_npm(*command: str) -> dict[str, Any]:
    """The answer of npm about the packages that the web app needs, but for development."""
    options = ["--package-lock-only", "--omit=dev"]
    done = subprocess.run(
        [npm(), *command, *options], cwd=ROOT / "web", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def npm_packages(tree: dict[str, Any]) -> set[str]:
    """Names and versions of all packages in a tree of `npm ls`."""
    found = set()
    for name, package in tree.get("dependencies", {}).items():
        if "version" in package:
            found.add(f"{name}@{package['version']}")
        found |= npm_packages(package)
    return found
