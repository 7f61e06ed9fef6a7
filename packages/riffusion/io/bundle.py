"""The folders in which the bundle's `data/` folder is searched."""

import importlib.util
from pathlib import Path

DISTRIBUTION = "riffusion-truss"
"""What to install: `riffusion` on the package index is another person's package."""
_MODULES_OF_EXTRAS = {
    "torch": ("torch", "torchaudio", "diffusers", "transformers", "accelerate", "safetensors"),
    "serve": ("truss", "httpx", "limits", "fastapi", "uvicorn", "prometheus_client"),
    "train": ("yaml", "matplotlib", "music21", "peft", "fluidsynth", "tensorboard"),
    "listening": ("librosa",),
    "ray-data": ("ray",),
    "export": ("onnx",),
}
"""Modules that commands import only when they need them, by the extra that brings them."""


def how_to_add(module: str) -> str:
    """The remedy for a module that is not installed.

    Args:
        module: its name; what only a further extra brings is added with all of them.
    """
    top = module.partition(".")[0]
    found = [extra for extra, modules in _MODULES_OF_EXTRAS.items() if top in modules]
    extras = ",".join(found or ("serve", "train"))
    # pip reads the extras of the distribution that is installed already; the package index has none
    # of that name.
    return f"`make setup` in a checkout, or `pip install '{DISTRIBUTION}[{extras}]'`, adds it"


def how_to_use_torch() -> str:
    """The remedy for what the light engine can't do."""
    if importlib.util.find_spec("torch") is not None:
        return "use --engine torch"
    return how_to_add("torch")


def bundle_roots() -> list[Path]:
    """Folders that may contain `data/`, in search order.

    The working directory is first, because Truss starts its server in a copy of the bundle. In a
    checkout, this package is in the bundle's `packages/` folder. A wheel has the bundle inside the
    package, where `setup.py` puts it.
    """
    package = _package()
    roots = [Path.cwd()]
    if package.parent.name == "packages":
        roots.append(package.parents[1])
    installed = installed_bundle()
    if installed.is_dir() or len(roots) == 1:
        roots.append(installed)
    return roots


def installed_bundle() -> Path:
    """The bundle in an installed package; in a checkout there is no such folder.

    It lacks `packages/`, because that is the package around it.
    """
    return _package() / "bundle"


def _package() -> Path:
    return Path(__file__).resolve().parents[1]
