"""Stems by Demucs: windows, rates, channels, and weights that can't be had."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchaudio.models import HDemucs

from riffusion.audio import Recording, segment_from_waveform, write_audio
from riffusion.editing import demucs
from riffusion.editing.demucs import WEIGHTS_VARIABLE, DemucsSeparator, load_network
from riffusion.editing.stems import stem_blocks
from riffusion.errors import CheckpointError

SHARES = (0.1, 0.2, 0.4, 0.3)
"""Shares of drums, bass, other and vocals in the linear network's answer."""
TOLERANCE = 2e-3
"""Share of full scale, for 16 bits, two resamplings and a signal up to a third of the rate."""


OFFSET = 0.05
"""Constant part of the tones, which no stem contains but the last."""


class LinearNetwork(nn.Module):
    """A network whose stems are known: shares of its input."""

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return torch.stack([share * mix for share in SHARES], dim=1)


def write_tones(path: Path, rate: int, channels: int, duration_s: float) -> Path:
    """Two tones, another one per channel."""
    t = np.arange(round(duration_s * rate)) / rate
    hz = (220.0, 330.0)[:channels]
    waveform = np.stack([0.2 * np.sin(2 * np.pi * f * t) + OFFSET for f in hz])
    write_audio(segment_from_waveform(waveform.astype(np.float32), rate), path)
    return path


@pytest.mark.parametrize("duration_s", [0.05, 9.0, 25.0])
@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (22_050, 1), (48_000, 2)])
def test_windows_give_what_the_network_gives_for_the_whole(
    rate: int, channels: int, duration_s: float, tmp_path: Path
) -> None:
    path = write_tones(tmp_path / "in.wav", rate, channels, duration_s)
    with Recording.open(path) as recording:
        stems = np.concatenate(list(DemucsSeparator(LinearNetwork())(recording)), axis=2)
        whole = recording.waveform(0, recording.num_samples)
    assert stems.shape == (3, *whole.shape)
    inner = slice(round(0.02 * rate), -round(0.02 * rate))  # resampling needs some sound around
    for stem, share in zip(stems, (SHARES[0], SHARES[1], SHARES[3]), strict=True):
        assert np.abs(stem - share * (whole - OFFSET))[:, inner].max() < TOLERANCE


def test_the_real_network_separates(tmp_path: Path) -> None:
    """A small Hybrid Demucs with random weights: stems of the recording's shape that add up."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = HDemucs(["drums", "bass", "other", "vocals"], channels=8, depth=6).eval()
    path = write_tones(tmp_path / "in.wav", 44_100, 2, 1.5)
    separator = DemucsSeparator(network)
    with Recording.open(path) as recording:
        stems = np.concatenate(list(stem_blocks(recording, separator)), axis=2)
        whole = recording.samples(0, recording.num_samples).astype(np.int64)
    assert separator.names == ("drums", "bass", "vocals", "other")
    assert np.array_equal(stems.sum(axis=0), whole)
    assert all(np.abs(stem).max() > 10 for stem in stems)
    assert len({stem.tobytes() for stem in stems}) == 4


def test_silence_stays_silent(tmp_path: Path) -> None:
    write_audio(segment_from_waveform(np.zeros((1, 8000)), 8000), tmp_path / "in.wav")
    with Recording.open(tmp_path / "in.wav") as recording:
        (stems,) = DemucsSeparator(LinearNetwork())(recording)
    assert stems.shape == (3, 1, 8000)
    assert np.abs(stems).max() < 1e-5


class BrokenNetwork(nn.Module):
    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 4, *mix.shape[1:]), float("nan"))


def test_nan_is_refused(tmp_path: Path) -> None:
    path = write_tones(tmp_path / "in.wav", 8000, 1, 0.5)
    with (
        Recording.open(path) as recording,
        pytest.raises(CheckpointError, match="separates stems returned NaN"),
    ):
        next(DemucsSeparator(BrokenNetwork())(recording))


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file, none at all, and a download without a network: one line with the remedy."""
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path / "hub"))
    other = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(2)}, other)
    for path, reason in ((other, "Missing key"), (tmp_path / "none.pt", "No such file")):
        monkeypatch.setenv(WEIGHTS_VARIABLE, str(path))
        with pytest.raises(CheckpointError, match=f"(?s)loaded from .*{reason}") as refused:
            load_network()
        assert "use the separator `spectral`" in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1
    monkeypatch.delenv(WEIGHTS_VARIABLE)

    def no_network(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(CheckpointError, match="can't be downloaded .*not known"):
        load_network()


def test_weights_are_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published architecture is 335 MB large, so a small one takes its place here."""

    def small(sources: list[str]) -> HDemucs:
        return HDemucs(sources, channels=8, depth=6)

    network = small(["drums", "bass", "other", "vocals"])
    torch.save(network.state_dict(), tmp_path / "small.pt")
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "small.pt"))
    monkeypatch.setattr("torchaudio.models.hdemucs_high", small)
    loaded = demucs.load_network()
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
