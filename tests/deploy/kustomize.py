"""What `kubectl kustomize` makes of deploy/kubernetes, as far as these files use it."""

import copy
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
FIELDS = {"apiVersion", "kind", "namespace", "resources", "images", "patches"}
CLUSTER_WIDE = {"Namespace"}


def build(folder: Path) -> list[Manifest]:
    """The manifests of a folder with a kustomization.yaml.

    Raises:
        ValueError: it has a field that isn't known here.
    """
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    if unknown := kustomization.keys() - FIELDS:
        raise ValueError(f"{folder.name}: {sorted(unknown)} is not implemented here")
    manifests: list[Manifest] = []
    for name in kustomization["resources"]:
        path = folder / name
        manifests += build(path) if path.is_dir() else load(path)
    for patch in kustomization.get("patches", ()):
        found = [one for one in manifests if _is_target(one, patch["target"])]
        if not found:
            raise ValueError(f"{folder.name}: nothing is {patch['target']}")
        for manifest in found:
            for operation in yaml.safe_load(patch["patch"]):
                _apply(manifest, operation)
    for manifest in manifests:
        if manifest["kind"] not in CLUSTER_WIDE:
            manifest["metadata"]["namespace"] = kustomization["namespace"]
        for image in kustomization.get("images", ()):
            for container in containers(manifest):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['name']}:{image['newTag']}"
    return manifests


def load(path: Path) -> list[Manifest]:
    """The documents of a file; aliases become copies."""
    documents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return [_without_aliases(document) for document in documents]


def containers(manifest: Manifest) -> list[dict[str, Any]]:
    """The containers of a workload's pods."""
    template = manifest.get("spec", {}).get("template", {}).get("spec", {})
    found: list[dict[str, Any]] = template.get("containers", [])
    return found


def _without_aliases(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_aliases(item) for key, item in value.items()}
    return [_without_aliases(item) for item in value] if isinstance(value, list) else value


def _is_target(manifest: Manifest, target: dict[str, str]) -> bool:
    own = {"kind": manifest["kind"], "name": manifest["metadata"]["name"]}
    return target.items() <= own.items()


def _apply(manifest: Manifest, operation: dict[str, Any]) -> None:
    """One operation of a JSON patch (RFC 6902); what it names must exist."""
    *parents, last = operation["path"].strip("/").replace("~1", "/").split("/")
    place: Any = manifest
    for name in parents:
        place = place[int(name) if isinstance(place, list) else name]
    key: Any = int(last) if isinstance(place, list) else last
    place[key]  # it must be there
    match operation["op"]:
        case "remove":
            del place[key]
        case "replace":
            place[key] = copy.deepcopy(operation["value"])
        case other:
            raise ValueError(f"op={other} is not implemented here")
