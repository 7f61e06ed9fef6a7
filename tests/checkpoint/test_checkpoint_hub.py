"""Checkpoints from the hub: the real client downloads them from a stand-in on loopback."""

from __future__ import annotations

import logging
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http as client_http

from riffusion.checkpoint import hub as checkpoint_hub
from riffusion.checkpoint.loader import load_components
from riffusion.checkpoint.source import CheckpointSource
from riffusion.checkpoint.unconditional import UnconditionalCheckpoint
from riffusion.errors import CheckpointError
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import (
    TinyModel,
    tiny_model,
    write_folder,
    write_old_folder,
    write_single_file,
)
from tests.checkpoint.hub_stand_in import Fault, HubStandIn
from tests.generation.unconditional_checkpoints import write_checkpoint

NAME = "someone/tiny-riffusion"
NO_ACCESS = "can't be read from the hub ("
NOT_CACHED = "is not complete in the local cache and can't be downloaded ("
FAILED = "can't be fetched ("


@pytest.fixture(scope="module")
def model() -> TinyModel:
    return tiny_model()


@pytest.fixture(scope="module")
def published(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as people publish them: weights in two formats, and files not needed here."""
    folder = write_folder(model, tmp_path_factory.mktemp("published"))
    pickles = write_old_folder(model, tmp_path_factory.mktemp("pickles") / "old")
    for part in ("vae", "unet", "text_encoder"):
        for path in (pickles / part).glob("*.bin"):
            shutil.copy(path, folder / part / path.name)
    shutil.copytree(pickles / "safety_checker", folder / "safety_checker")
    (folder / "riffusion-model-v1.ckpt").write_bytes(b"the same again")
    (folder / "unet_traced.pt").write_bytes(b"traced for one device")
    (folder / "seed_images").mkdir()
    (folder / "seed_images" / "og_beat.png").write_bytes(b"an image")
    SpectrogramParams(max_frequency=8000).save(folder)
    return folder


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A running hub that the real client talks to, with an empty cache."""
    with HubStandIn() as stand_in:
        stand_in.publish(NAME, published)
        point_client_at(stand_in.url, tmp_path / "cache", monkeypatch)
        yield stand_in


def point_client_at(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what HF_ENDPOINT and HF_HUB_CACHE set; the client reads those only on import."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's pauses between attempts take no time."""
    clock = SimpleNamespace(sleep=lambda _: None, time=time.time)
    monkeypatch.setattr(file_download, "time", clock)
    monkeypatch.setattr(client_http, "time", clock)


def refused(**arguments: object) -> str:
    """Load a checkpoint that must fail, and return the one-line message."""
    source = CheckpointSource("hub", NAME)
    with pytest.raises(CheckpointError) as refusal:
        load_components(source, device="cpu", **arguments)  # type: ignore[arg-type]
    message = str(refusal.value)
    assert "\n" not in message
    assert NAME in message
    return message


def test_branch_is_resolved_to_its_commit_and_reported(
    hub: HubStandIn, model: TinyModel, caplog: pytest.LogCaptureFixture
) -> None:
    commit = hub.repositories[NAME].references["main"]
    with caplog.at_level(logging.INFO, logger="riffusion"):
        components = load_components(NAME, device="cpu")
    assert components.source == CheckpointSource("hub", NAME, commit)
    assert components.description.startswith(f"{NAME}@{commit} (argument) on cpu in float32")
    assert components.weights_format == "SafeTensors"
    assert components.spectrogram_params.max_frequency == 8000
    assert (components.directory / "seed_images" / "og_beat.png").read_bytes() == b"an image"
    for name, weight in model.unet.state_dict().items():
        assert torch.equal(components.unet.state_dict()[name], weight)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "is not pinned" in warnings[0]
    assert f"{NAME}@{commit}" in warnings[0]


def test_only_what_is_needed_is_downloaded(hub: HubStandIn) -> None:
    load_components(NAME, device="cpu")
    suffixes = {Path(path).suffix for path in hub.downloaded()}
    assert suffixes == {".json", ".safetensors", ".png"}
    assert not [path for path in hub.downloaded() if "safety_checker" in path]


def test_half_precision_variant_is_preferred_only_for_half_precision(hub: HubStandIn) -> None:
    files = hub.repositories[NAME].commits[hub.repositories[NAME].references["main"]]
    files["unet/diffusion_pytorch_model.fp16.safetensors"] = b"half"
    for prefer_half, wanted in ((False, "model.safetensors"), (True, "model.fp16.safetensors")):
        hub.requests.clear()
        checkpoint_hub.fetch(CheckpointSource("hub", NAME), prefer_half=prefer_half)
        unet = [path for path in hub.downloaded() if "/unet/" in path and "json" not in path]
        assert {Path(path).name for path in unet} == {f"diffusion_pytorch_{wanted}"}


def test_pinned_commit_in_the_cache_makes_no_request(
    hub: HubStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    commit = hub.repositories[NAME].references["main"]
    load_components(f"{NAME}@{commit}", device="cpu")
    assert "is not pinned" not in caplog.text
    hub.requests.clear()
    load_components(NAME, revision=commit, device="cpu")
    assert hub.requests == []


def test_tag_and_later_commit(hub: HubStandIn, tmp_path: Path) -> None:
    first = hub.repositories[NAME].references["main"]
    hub.repositories[NAME].references["v1"] = first
    later = write_folder(tiny_model(seed=1), tmp_path / "later")
    second = hub.publish(NAME, later)
    assert load_components(f"{NAME}@v1", device="cpu").source.revision == first
    assert load_components(NAME, device="cpu").source.revision == second


@pytest.mark.parametrize("way", ["HF_HUB_OFFLINE", "local_files_only", "unreachable", "down"])
def test_cached_copy_serves_without_the_hub(
    hub: HubStandIn, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = load_components(NAME, device="cpu")
    hub.requests.clear()
    if way == "HF_HUB_OFFLINE":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif way == "unreachable":
        point_client_at("http://127.0.0.1:9", Path(constants.HF_HUB_CACHE), monkeypatch)
    elif way == "down":
        hub.faults["/"] = Fault(status=503)
    offline = load_components(NAME, device="cpu", local_files_only=way == "local_files_only")
    assert offline.source == online.source
    assert not hub.downloaded()


@pytest.mark.parametrize("way", ["HF_HUB_OFFLINE", "local_files_only", "unreachable"])
def test_nothing_cached_and_no_hub(
    hub: HubStandIn, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "HF_HUB_OFFLINE":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif way == "unreachable":
        point_client_at("http://127.0.0.1:9", Path(constants.HF_HUB_CACHE), monkeypatch)
    for revision in (None, "0" * 40):
        message = refused(local_files_only=way == "local_files_only", revision=revision)
        assert NOT_CACHED in message
        assert "name a local folder" in message
    assert hub.requests == []


def test_a_hub_that_never_responds(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riffusion.checkpoint.hub.REQUEST_TIMEOUT_S", 0.3)
    hub.faults["/"] = Fault(hangs=True)
    for revision in (None, "0" * 40):
        assert NOT_CACHED in refused(revision=revision)
    hub.faults.clear()
    online = load_components(NAME, device="cpu")
    hub.faults["/"] = Fault(hangs=True)
    assert load_components(NAME, device="cpu").source == online.source


def test_an_interrupted_download_is_not_used(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults["/large/someone/tiny-riffusion/"] = Fault(status=500)
    assert "500" in refused()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert NOT_CACHED in refused()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.faults.clear()
    load_components(NAME, device="cpu")


@pytest.mark.parametrize(
    ("fault", "rule", "reason", "remedy"),
    [
        (Fault(404, "RepoNotFound"), NO_ACCESS, "404", "check the spelling"),
        (Fault(401, "RepoNotFound"), NO_ACCESS, "401", "check the spelling"),
        (Fault(401, "GatedRepo"), NO_ACCESS, "401", "accept its terms"),
        (Fault(403, "GatedRepo"), NO_ACCESS, "403", "accept its terms"),
        (Fault(403), NO_ACCESS, "403", "HF_TOKEN"),
        (Fault(503), NOT_CACHED, "503", "name a local folder"),
        (Fault(429), NOT_CACHED, "429", "name a local folder"),
        (Fault(body=b"<html>a login page</html>"), FAILED, "", "HF_ENDPOINT"),
        (Fault(body=b"[]"), FAILED, "", "HF_ENDPOINT"),
    ],
    ids=lambda value: str(value.status or value.body) if isinstance(value, Fault) else "",
)
def test_hub_errors(hub: HubStandIn, fault: Fault, rule: str, reason: str, remedy: str) -> None:
    hub.faults["/api/"] = fault
    message = refused()
    assert rule in message
    assert reason in message
    assert remedy in message


def test_unknown_revision(hub: HubStandIn) -> None:
    for revision in ("no-such-branch", "0" * 40):
        message = refused(revision=revision)
        assert f"{NAME}@{revision} {NO_ACCESS}404" in message
        assert "check the spelling of owner/name and revision" in message


def test_gated_files_of_an_open_listing(hub: HubStandIn) -> None:
    hub.faults["/resolve/"] = Fault(403, "GatedRepo")
    message = refused()
    assert NO_ACCESS + "403" in message
    assert "accept its terms" in message


def test_listed_file_that_is_missing(hub: HubStandIn) -> None:
    hub.faults["/resolve/"] = Fault(404, "EntryNotFound")
    assert FAILED + "404" in refused()


def test_incomplete_repository_is_refused_before_its_weights_are_downloaded(
    hub: HubStandIn,
) -> None:
    files = hub.repositories[NAME].commits[hub.repositories[NAME].references["main"]]
    del files["vae/config.json"]
    assert "lacks vae/config.json" in refused()
    assert {Path(path).name for path in hub.downloaded()} == {"model_index.json"}


@pytest.mark.parametrize(
    "fault", [Fault(cut=1000), Fault(body=b"much too short")], ids=["connection lost", "too short"]
)
def test_a_download_that_broke_off_is_resumed(hub: HubStandIn, fault: Fault) -> None:
    hub.faults["/large/"] = fault
    message = refused()
    assert FAILED in message
    assert "run it again to resume" in message
    hub.faults.clear()
    load_components(NAME, device="cpu")


def test_a_full_disk(hub: HubStandIn) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        message = refused()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in message
    assert "free disk space in HF_HOME" in message


def test_a_copy_of_an_older_client_serves_without_the_hub(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older clients stored no list of a commit's files beside them."""
    online = load_components(NAME, device="cpu")
    for listing in (tmp_path / "cache").rglob("trees"):
        shutil.rmtree(listing)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_components(NAME, device="cpu").source == online.source


def test_tokenizer_of_a_single_file_comes_from_the_hub(
    hub: HubStandIn, model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_single_file(model, tmp_path / "model.safetensors")
    tokenizer = shutil.move(path.parent / "tokenizer", tmp_path / "clip")
    commit = hub.publish(checkpoint_hub.CLIP_ID, Path(tokenizer))
    monkeypatch.setattr(checkpoint_hub, "CLIP_COMMIT", commit)
    monkeypatch.setattr("riffusion.checkpoint.single_file.CLIP_VOCAB_SIZE", len(model.vocab))
    components = load_components(path, device="cpu")
    assert components.tokenizer.get_vocab() == model.vocab
    hub.faults["/"] = Fault(503)
    load_components(path, device="cpu")
    point_client_at(hub.url, tmp_path / "another cache", monkeypatch)
    with pytest.raises(CheckpointError, match=r"has no tokenizer; put vocab\.json and"):
        load_components(path, device="cpu")


def test_an_unconditional_checkpoint_is_downloaded_with_what_it_needs(
    hub: HubStandIn, tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "folder", vqvae=AutoencoderKL)
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(b"the same again")
    (folder / "logs").mkdir()
    (folder / "logs/events").write_bytes(b"curves")
    commit = hub.publish("someone/tiny-audio-diffusion", folder)
    checkpoint = UnconditionalCheckpoint.read(f"someone/tiny-audio-diffusion@{commit}")
    assert checkpoint.load(torch.device("cpu")).vae is not None
    suffixes = {Path(path).suffix for path in hub.downloaded()}
    assert suffixes == {".json", ".safetensors"}
    with pytest.raises(CheckpointError, match=r"has a text encoder; use `riffusion generate`"):
        UnconditionalCheckpoint.read(NAME)
