"""Known samples in the inversion: they are met, and what is beside them continues their phases."""

import numpy as np
import pytest
import torch

from riffusion.errors import InputError
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.inversion.inverter import KnownSamples
from riffusion.spectrogram.params import SpectrogramParams

PARAMS = SpectrogramParams()
HOP = PARAMS.hop_length
NUM_FRAMES = 200
UNKNOWN = slice(80 * HOP, 120 * HOP)


@pytest.fixture(scope="module")
def converter() -> SpectrogramConverter:
    return SpectrogramConverter(PARAMS, device="cpu")


@pytest.fixture(scope="module")
def tones() -> torch.Tensor:
    """(2, samples): two mixtures of steady tones."""
    times = np.arange(NUM_FRAMES * HOP) / PARAMS.sample_rate
    mixtures = [
        sum(0.1 * np.sin(2 * np.pi * hz * times + hz) for hz in frequencies)
        for frequencies in ((220, 663, 1500), (150, 440, 3000))
    ]
    return torch.from_numpy(np.stack(mixtures).astype(np.float32))


@pytest.fixture(scope="module")
def amplitudes(converter: SpectrogramConverter, tones: torch.Tensor) -> torch.Tensor:
    return converter.mel_amplitudes_from_waveform(tones)[..., :NUM_FRAMES]


def is_known() -> torch.Tensor:
    mask = torch.ones(NUM_FRAMES * HOP, dtype=torch.bool)
    mask[UNKNOWN] = False
    return mask


def error_db(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(10 * torch.log10((found - wanted).square().sum() / wanted.square().sum()))


def test_known_samples_are_met_and_continued(
    converter: SpectrogramConverter, tones: torch.Tensor, amplitudes: torch.Tensor
) -> None:
    free = converter.waveform_from_mel_amplitudes(amplitudes)
    found = converter.waveform_from_mel_amplitudes(amplitudes, KnownSamples(tones, is_known()))
    inside = slice(20 * HOP, 75 * HOP)
    assert error_db(found[:, inside], tones[:, inside]) < -30
    assert error_db(free[:, inside], tones[:, inside]) > -10  # its phases are others
    for start in (UNKNOWN.start, UNKNOWN.stop - 2 * HOP):
        beside = slice(start, start + 2 * HOP)  # 20 ms of what is made
        gain_db = error_db(free[:, beside], tones[:, beside]) - error_db(
            found[:, beside], tones[:, beside]
        )
        assert gain_db > 8


def test_a_waveform_that_is_not_known_does_not_count(
    converter: SpectrogramConverter, tones: torch.Tensor, amplitudes: torch.Tensor
) -> None:
    nothing = torch.zeros(NUM_FRAMES * HOP, dtype=torch.bool)
    free = converter.waveform_from_mel_amplitudes(amplitudes)
    same = converter.waveform_from_mel_amplitudes(amplitudes, KnownSamples(tones, nothing))
    assert torch.equal(free, same)


def test_leading_dimensions_and_single_clips(
    converter: SpectrogramConverter, tones: torch.Tensor, amplitudes: torch.Tensor
) -> None:
    together = converter.waveform_from_mel_amplitudes(
        amplitudes[None], KnownSamples(tones[None], is_known())
    )
    assert together.shape == (1, *tones.shape)
    alone = converter.waveform_from_mel_amplitudes(
        amplitudes[1], KnownSamples(tones[1], is_known())
    )
    assert torch.allclose(together[0, 1], alone, atol=1e-4)


@pytest.mark.parametrize("num_frames", [1, 3, 12])
def test_short_clips(
    converter: SpectrogramConverter,
    tones: torch.Tensor,
    amplitudes: torch.Tensor,
    num_frames: int,
) -> None:
    length = num_frames * HOP
    known = KnownSamples(tones[0, :length], is_known()[:length])
    found = converter.waveform_from_mel_amplitudes(amplitudes[0, :, :num_frames], known)
    assert found.shape == (length,)
    assert torch.isfinite(found).all()


def test_other_lengths_are_refused(
    converter: SpectrogramConverter, tones: torch.Tensor, amplitudes: torch.Tensor
) -> None:
    for waveform, mask in (
        (tones[:, :-1], is_known()),
        (tones, is_known()[:-1]),
        (tones[:, :HOP], is_known()[:HOP]),
    ):
        with pytest.raises(InputError, match="as long as the amplitudes"):
            converter.waveform_from_mel_amplitudes(amplitudes, KnownSamples(waveform, mask))
