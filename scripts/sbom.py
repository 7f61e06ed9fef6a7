"""Writes a software bill of materials (CycloneDX 1.6, JSON): what runs where clips are served.

    python scripts/sbom.py OUTPUT

It has the Python packages of the model's and the gateway's images as they are installed here, with
the hashes of their files; the libraries under GPL or LGPL inside their wheels; the packages of the
web app; and the weights, the embedded checkpoint's by the hash of each file and the published one's
by its revision. The image's base, with CUDA and the system's packages, isn't in it.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts.list_licences import JUDGED, libraries_inside, licence_of  # noqa: E402

REQUIREMENTS = ("requirements-image.txt", "requirements-gateway.txt")
CHECKPOINT = ROOT / "data/demo-checkpoint"
_ROOT_REFERENCE = "root-component"  # cyclonedx-py's


def main() -> None:
    """Write the file that the command line names, once it is valid."""
    if len(sys.argv) != 2:
        sys.exit("error: name one file to write, such as out/sbom.cdx.json")
    text = json.dumps(bill(), indent=1, sort_keys=True) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"error: the bill is not valid: {error}")
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"Wrote {path} ({len(json.loads(text)['components'])} components)")


def bill() -> dict[str, Any]:
    """The bill; the same installation gives the same one."""
    bom = _environment()
    hashes = {pin: found for file in REQUIREMENTS for pin, found in file_hashes(file).items()}
    components = [component for component in bom["components"] if _pin(component) in hashes]
    for component in components:
        _describe(component, hashes[_pin(component)])
    web = web_packages()
    models = [embedded_checkpoint(), published_checkpoint()]
    kept = {component["bom-ref"] for component in components}
    edges = [
        {"ref": edge["ref"], "dependsOn": sorted(kept.intersection(edge.get("dependsOn", ())))}
        for edge in bom["dependencies"]
        if edge["ref"] in kept
    ]
    parts = sorted(component["bom-ref"] for component in [*components, *web, *models])
    bom["components"] = [*components, *web, *models]
    bom["dependencies"] = [{"ref": _ROOT_REFERENCE, "dependsOn": parts}, *edges]
    return bom


def file_hashes(name: str) -> dict[tuple[str, str], list[str]]:
    """The SHA-256 hashes of each package's and version's files, from a requirements file."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    pins = re.findall(r"^([a-z0-9][a-z0-9.-]*)==([^ ;]+)(.*)$", text, re.MULTILINE)
    return {
        (canonicalize_name(package), version): re.findall(r"--hash=sha256:(\w+)", rest)
        for package, version, rest in pins
    }


def web_packages() -> list[dict[str, Any]]:
    """Components of the packages inside the built web app, from its lock file."""
    lock = json.loads((ROOT / "web/package-lock.json").read_text(encoding="utf-8"))
    found = []
    for path, package in lock["packages"].items():
        if not path or package.get("dev"):
            continue
        name = path.rpartition("node_modules/")[2]
        purl = f"pkg:npm/{name.replace('@', '%40')}@{package['version']}"
        algorithm, _, digest = package["integrity"].partition("-")
        found.append(
            {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": package["version"],
                "purl": purl,
                "licenses": [{"license": {"id": package["license"]}}],
                "hashes": [
                    {
                        "alg": algorithm.replace("sha", "SHA-"),
                        "content": base64.b64decode(digest).hex(),
                    }
                ],
            }
        )
    return found


def embedded_checkpoint() -> dict[str, Any]:
    """The checkpoint of data/: a component with one for each of its files."""
    files = sorted(path for path in CHECKPOINT.rglob("*") if path.is_file())
    manifest = hashlib.sha256((CHECKPOINT / "manifest.json").read_bytes()).hexdigest()
    return {
        "type": "machine-learning-model",
        "bom-ref": "demo-checkpoint",
        "name": "demo-checkpoint",
        "version": manifest[:12],
        "description": "The checkpoint of data/; the version is the hash of its manifest.json.",
        "licenses": [{"license": {"id": "MIT"}}],
        "components": [
            {
                "type": "file",
                "bom-ref": str(path.relative_to(ROOT)),
                "name": str(path.relative_to(ROOT)),
                "hashes": [
                    {"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}
                ],
            }
            for path in files
        ],
    }


def published_checkpoint() -> dict[str, Any]:
    """The checkpoint that config.yaml names, whose revision fixes every file's bytes."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    (weights,) = config["weights"]
    name, _, revision = weights["source"].removeprefix("hf://").partition("@")
    return {
        "type": "machine-learning-model",
        "bom-ref": f"pkg:huggingface/{name}@{revision}",
        "name": name,
        "version": revision,
        "purl": f"pkg:huggingface/{name}@{revision}",
        "licenses": [{"license": {"name": "CreativeML OpenRAIL-M"}}],
    }


def _environment() -> dict[str, Any]:
    """What cyclonedx-py says of this Python's environment."""
    command = [
        *(sys.executable, "-m", "cyclonedx_py", "environment", "--no-validate"),
        *("--output-reproducible", "--sv", "1.6", "--of", "JSON", "-o", "-"),
        *("--pyproject", str(ROOT / "pyproject.toml"), sys.executable),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: cyclonedx-py failed: {done.stderr.strip()}")
    bom: dict[str, Any] = json.loads(done.stdout)
    return bom


def _pin(component: dict[str, Any]) -> tuple[str, str]:
    return _name(component), component["version"]


def _name(component: dict[str, Any]) -> str:
    return str(canonicalize_name(component["name"]))


def _describe(component: dict[str, Any], hashes: list[str]) -> None:
    """Replace a component's links by one with the hashes of its files, and add what is inside."""
    files = [{"alg": "SHA-256", "content": digest} for digest in hashes]
    place = {"type": "distribution", "url": component["purl"], "hashes": files}
    component["externalReferences"] = [place]
    if not component.get("licenses"):  # metadata that isn't an SPDX expression
        component["licenses"] = [{"expression": licence_of(_name(component))}]
    inside = [
        {
            "type": "library",
            "bom-ref": f"{component['bom-ref']}/{library}",
            "name": library,
            "licenses": [{"expression": licence}],
        }
        for library, licence in libraries_inside(_name(component)).items()
    ]
    if inside:
        component["components"] = inside
    if judgement := JUDGED.get(_name(component)):
        component["description"] = f"{judgement[0]}. {judgement[1]}"


if __name__ == "__main__":
    main()
