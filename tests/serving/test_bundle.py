"""The Truss bundle: its configuration, and the context that an image is built from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from riffusion.checkpoint.source import TRUSS_MOUNT
from riffusion.datatypes import InferenceInput
from riffusion.engine.engine import MAX_NUM_RUNNING
from riffusion.errors import ServerError
from riffusion.runtime.gpu import REQUIRE_GPU
from riffusion.serving.local.bundle_context import build_context
from riffusion.serving.local.truss_server import LocalTrussServer, read_config
from riffusion.serving.model.clip_service import LARGEST_MAX_WAITING
from tests.deploy.contained import IMAGE_ENTRY
from tests.serving.conftest import BUNDLE_DIR, write_mini_bundle

NEEDED = (
    "config.yaml",
    "model/model.py",
    "packages/riffusion/generation/generator.py",
    "packages/riffusion/serving/model/request_body.py",
    "data/demo-checkpoint/model_index.json",
    "data/demo-checkpoint/unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "data/seed_images/og_beat.png",
    "data/masks/mask_gradient_dark.png",
    "server/truss_server.py",
    "Dockerfile",
)
ALLOWED_AT_THE_TOP = {
    "config.yaml",
    "data",
    "LICENSE",
    "model",
    "packages",
    "requirements.txt",
    ".truss_ignore",
    # what Truss adds
    "build_hash",
    "constraints.txt",
    "Dockerfile",
    "server",
    "system_packages.txt",
    "user_requirements.txt",
}


MADE_IN_A_CHECKOUT = (
    ".venv", ".venv-light", ".venv-ray", ".mypy_cache", "corpus", "out", "site", "web/node_modules",
)  # fmt: skip


@pytest.fixture(scope="module")
def config() -> Any:
    """`TrussConfig`, with the bundle's configuration."""
    return read_config(BUNDLE_DIR)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout, where all folders that the image doesn't need have one small file instead.

    Truss reads every file for a hash; those of .venv and web/node_modules take half a minute.
    """
    copy = tmp_path_factory.mktemp("bundle") / "checkout"
    copy.mkdir()
    others = set(MADE_IN_A_CHECKOUT)
    for path in BUNDLE_DIR.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
        elif path.name in ALLOWED_AT_THE_TOP:
            shutil.copytree(path, copy / path.name)
        else:
            others.add(path.name)
    for name in others:
        (copy / name).mkdir(parents=True, exist_ok=True)
        (copy / name / "large.txt").touch()
    return copy


@pytest.fixture(scope="module")
def context(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of `truss image build-context`."""
    directory = tmp_path_factory.mktemp("image") / "context"
    truss = Path(sys.executable).with_name("truss")
    command = [truss, "image", "build-context", directory, checkout]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_unknown_keys_are_errors(tmp_path: Path) -> None:
    bundle = write_mini_bundle(tmp_path / "bundle", config="resurces: {cpu: 4}\n")
    with pytest.raises(ServerError, match="resurces"):
        read_config(bundle)


def test_the_local_server_s_context_needs_no_look_at_what_is_ignored(tmp_path: Path) -> None:
    """Truss hashes every file, those of a .venv too; a live reload's Dockerfile shows the hash."""
    bundle = write_mini_bundle(tmp_path / "bundle", config="live_reload: true\n")
    (bundle / ".truss_ignore").write_text("/.venv/\n")
    (bundle / ".venv").mkdir()
    hashes = []
    for content in ("some", "other"):
        (bundle / ".venv/large.txt").write_text(content)
        build_context(bundle, tmp_path / content)
        context = tmp_path / content / "context"
        assert not (context / ".venv").exists()
        lines = (context / "Dockerfile").read_text(encoding="utf-8").splitlines()
        hashes += [line for line in lines if "HASH_TRUSS" in line]
    assert len(hashes) == 2
    assert hashes[0] == hashes[1]


def test_config_asks_for_an_a10g_and_pins_what_it_loads(config: Any) -> None:
    assert config.resources.accelerator.accelerator.value == "A10G"
    assert config.python_version == "py311"
    (weights,) = config.weights.sources
    assert weights.mount_location == str(TRUSS_MOUNT)
    revision = weights.source.partition("@")[2]
    assert len(revision) == 40
    assert set(revision) <= set("0123456789abcdef")


def test_the_bundle_requires_a_gpu_and_the_local_server_does_not(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop is served from its CPU, unless its owner sets the variable."""
    assert config.environment_variables[REQUIRE_GPU] == "1"
    seen: list[str] = []
    for value in (None, "0", "1"):
        if value is None:
            monkeypatch.delenv(REQUIRE_GPU, raising=False)
        else:
            monkeypatch.setenv(REQUIRE_GPU, value)
        directory = tmp_path / str(value)
        directory.mkdir()
        server = LocalTrussServer(BUNDLE_DIR)
        server._directory, server._config = directory, config
        _, _, environment, _ = server._command()
        assert environment is not None
        seen.append(environment[REQUIRE_GPU])
    assert seen == ["0", "0", "1"]


def test_refusals_never_wait_for_running_clips(config: Any) -> None:
    assert config.runtime.predict_concurrency > MAX_NUM_RUNNING + LARGEST_MAX_WAITING


def test_the_example_input_is_valid(config: Any) -> None:
    InferenceInput.parse(config.model_metadata["example_model_input"])


def test_the_context_holds_what_is_needed_and_nothing_else(context: Path) -> None:
    assert [name for name in NEEDED if not (context / name).is_file()] == []
    assert {path.name for path in context.iterdir()} <= ALLOWED_AT_THE_TOP
    assert list(context.rglob("__pycache__")) == []


def test_the_context_holds_every_file_of_packages_data_and_model(context: Path) -> None:
    """Truss silently drops `lib/`, `build/`, `*.log` and similar paths."""
    for folder in ("packages", "data", "model"):
        ours = {
            path.relative_to(BUNDLE_DIR)
            for path in (BUNDLE_DIR / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and "egg-info" not in str(path)
        }
        assert {path for path in ours if not (context / path).is_file()} == set()


def test_the_image_installs_the_pinned_requirements(context: Path) -> None:
    ours = (BUNDLE_DIR / "requirements.txt").read_text(encoding="utf-8")
    assert (context / "user_requirements.txt").read_text(encoding="utf-8") == ours
    assert "user_requirements.txt" in (context / "Dockerfile").read_text(encoding="utf-8")
    written = yaml.safe_load((context / "config.yaml").read_text(encoding="utf-8"))
    assert written["requirements_file"] == "./requirements.txt"


def test_the_context_for_other_hosts_has_a_user_and_hashes(checkout: Path, tmp_path: Path) -> None:
    """Truss' own Dockerfile runs the server as root, and pins without hashes."""
    environment = {**os.environ, "BUNDLE": str(checkout)}
    script = BUNDLE_DIR / "scripts/image_context.sh"
    subprocess.run([script, tmp_path / "image"], env=environment, check=True, capture_output=True)
    dockerfile = (tmp_path / "image/Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in dockerfile if line.startswith("USER")] == ["USER root", "USER 60000"]
    assert dockerfile[-1] == f'ENTRYPOINT ["python3", "{IMAGE_ENTRY}"]'
    installs = [line for line in dockerfile if " -r " in line]
    assert all(line.startswith("RUN UV_COMPILE_BYTECODE=1 ") for line in installs)
    installed = [line.split(" -r ")[1].split()[0] for line in installs]
    assert installed == ["user_requirements.txt", "requirements.txt"]
    first, second = ((tmp_path / "image" / name).read_text(encoding="utf-8") for name in installed)
    assert first == (BUNDLE_DIR / "requirements-image.txt").read_text(encoding="utf-8")
    assert all(line.startswith("#") for line in second.splitlines())


def test_the_model_needs_nothing_that_the_image_lacks() -> None:
    """Truss, httpx and the command line's packages are for local use only."""
    code = """
import sys
for name in ("truss", "httpx", "typer", "uvicorn"):
    sys.modules[name] = None
from riffusion.serving.model import clip_service, concurrency_limiter, metrics, request_body
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
