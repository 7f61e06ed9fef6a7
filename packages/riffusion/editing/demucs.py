"""Drums, bass, vocals and the rest of a recording, by Hybrid Demucs (Défossez 2021).

The network and its published weights are torchaudio's `HDEMUCS_HIGH_MUSDB_PLUS`. It hears windows
of 10 s, which overlap by 1 s and are crossfaded there, so memory doesn't depend on the length.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from riffusion.audio.recording import Recording
from riffusion.audio.waveform import Waveform, resample, with_channels
from riffusion.errors import CheckpointError
from riffusion.runtime.devices import select_device

WEIGHTS_VARIABLE = "RIFFUSION_DEMUCS"
SAMPLE_RATE = 44_100
_SOURCES = ("drums", "bass", "other", "vocals")
"""What the network returns, in its order."""
_WINDOW_S, _OVERLAP_S = 10.0, 1.0
_SHORTEST = SAMPLE_RATE
"""Samples that the network hears at least; shorter sound is followed by silence."""
_BLOCK = 2**18


class DemucsSeparator:
    """Takes a recording apart with a neural network; see `stems.Separator`.

    Args:
        network: (1, 2, samples) at 44.1 kHz → (1, 4, 2, samples); None for the published one, which
            is loaded at the first use, as `load_network` says.
        device: where a loaded network runs; None for the fastest available.
    """

    names: ClassVar[tuple[str, ...]] = ("drums", "bass", "vocals", "other")

    def __init__(self, network: nn.Module | None = None, device: str | None = None) -> None:
        self._network, self._device = network, device

    def __call__(self, recording: Recording) -> Iterator[npt.NDArray[np.float32]]:
        """Blocks (3, channels, samples) of drums, bass and vocals, in order.

        Raises:
            CheckpointError: the published weights can't be loaded, or the network returns NaN.
        """
        if self._network is None:
            self._network = load_network().to(select_device(self._device))
        window = round(_WINDOW_S * recording.sample_rate)
        overlap = round(_OVERLAP_S * recording.sample_rate)
        center, scale = _level(recording)
        tail = np.zeros((len(self.names) - 1, recording.num_channels, 0), np.float32)
        for start in range(0, max(1, recording.num_samples - overlap), window - overlap):
            stop = min(start + window, recording.num_samples)
            heard = recording.waveform(start, stop)
            stems = self._separated(heard, recording.sample_rate, center, scale)
            faded = tail.shape[2]
            fade = (np.arange(faded, dtype=np.float32) + 1) / (faded + 1)
            stems[..., :faded] = tail * (1 - fade) + stems[..., :faded] * fade
            keep = stop - start if stop == recording.num_samples else window - overlap
            yield stems[..., :keep]
            tail = stems[..., keep:]

    def _separated(
        self, waveform: Waveform, sample_rate: int, center: float, scale: float
    ) -> npt.NDArray[np.float32]:
        """Stems of one window, (3, channels, samples)."""
        num_channels, num_samples = waveform.shape
        heard = resample(with_channels(waveform, 2), sample_rate, SAMPLE_RATE)
        padded = np.pad(heard, ((0, 0), (0, max(0, _SHORTEST - heard.shape[1]))))
        network: Any = self._network
        device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
        with torch.inference_mode():
            found = network(torch.from_numpy((padded - center) / scale)[None].to(device))[0]
        # A constant offset is no sound of any stem; it stays in the rest.
        sources = found.float().cpu().numpy() * scale
        if not np.isfinite(sources).all():
            raise CheckpointError(
                "the network that separates stems returned NaN; use other weights"
            )
        stems = []
        for name in self.names[:-1]:
            source = sources[_SOURCES.index(name)][:, : heard.shape[1]]
            stem = with_channels(resample(source, SAMPLE_RATE, sample_rate), num_channels)
            missing = max(0, num_samples - stem.shape[1])
            stems.append(np.pad(stem, ((0, 0), (0, missing)))[:, :num_samples])
        return np.stack(stems).astype(np.float32)


def load_network() -> nn.Module:
    """Hybrid Demucs with its published weights.

    They are read from the file that the environment variable `RIFFUSION_DEMUCS` names, or else
    downloaded at the first use (335 MB) into the cache of `torch.hub`.

    Raises:
        CheckpointError: there is no such file, it contains other weights, or the download failed.
    """
    import torchaudio

    path = os.environ.get(WEIGHTS_VARIABLE)
    try:
        if path is None:
            bundle = torchaudio.pipelines.HDEMUCS_HIGH_MUSDB_PLUS
            network: nn.Module = bundle.get_model()
            return network
        network = torchaudio.models.hdemucs_high(sources=list(_SOURCES))
        network.load_state_dict(torch.load(Path(path), map_location="cpu", weights_only=True))
    except Exception as error:  # whatever a download or a foreign file leads to
        reason = " ".join(str(error).split())[:200]
        where = "downloaded" if path is None else f"loaded from {path!r}"
        raise CheckpointError(
            f"the weights of Demucs can't be {where} ({reason}); let {WEIGHTS_VARIABLE} name the "
            "file hdemucs_high_trained.pt of torchaudio, or use the separator `spectral`, which "
            "needs no weights"
        ) from error
    return network.eval()


def _level(recording: Recording) -> tuple[float, float]:
    """Mean and standard deviation of the mono mix, as the network's training has normalised it."""
    total = squares = 0.0
    for start in range(0, recording.num_samples, _BLOCK):
        stop = min(start + _BLOCK, recording.num_samples)
        mono = recording.waveform(start, stop).mean(axis=0, dtype=np.float64)
        total += float(mono.sum())
        squares += float((mono**2).sum())
    mean = total / recording.num_samples
    return mean, max(squares / recording.num_samples - mean**2, 1e-12) ** 0.5
