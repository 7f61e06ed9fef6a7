"""Writes what the web page's inversion of spectrogram images is compared with: Python's numbers.

    python -m scripts.write_inversion_golden

The tests of TypeScript are `web/test/engine/inversion*.test.ts`;
`tests/spectrogram/test_inversion_golden.py` tests that the file is what Python gives. Images and
signals aren't in the file: `example_image` and `example_signal` are written in both languages.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from PIL import Image

from riffusion.audio import Waveform, normalize_waveform
from riffusion.audio.loudness import measure_loudness, true_peak_db
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.filterbank import mel_filterbank
from riffusion.spectrogram.image import FloatArray, spectrogram_from_image
from riffusion.spectrogram.inversion.filterbank import interpolated_weights
from riffusion.spectrogram.inversion.reduced_stft import ReducedStft
from riffusion.spectrogram.operations import NumpyOperations
from riffusion.spectrogram.params import SpectrogramParams
from scripts.golden_files import FOLDER, base64_text, write_json

GOLDEN = FOLDER / "inversion.json"
FULL_SCALE = 32768.0

_DEFAULT = SpectrogramParams()
_SLANEY = SpectrogramParams(
    sample_rate=8000,
    step_size_ms=5,
    window_duration_ms=45,
    padded_duration_ms=100,
    num_frequencies=64,
    max_frequency=2500,
    mel_scale_norm="slaney",
    mel_scale_type="slaney",
    power_for_image=0.5,
)
"""Windows of 360 samples become 243, whose halves are rounded differently."""
_ODD = SpectrogramParams(
    sample_rate=11000,
    step_size_ms=11,
    window_duration_ms=77,
    padded_duration_ms=100,
    num_frequencies=48,
    max_frequency=4500,
)
"""The full rate's FFT has 1089 samples, 3 · 3 · 11 · 11."""

Ends = Literal["reflected", "loop", "part as a loop"]
"""A clip alone; one that repeats, and whose image does so too; one whose image doesn't."""

_CLIPS: tuple[tuple[str, SpectrogramParams, int, int, int | None, Ends], ...] = (
    ("initial phases only", _DEFAULT, 64, 0, 47, "reflected"),
    ("two iterations", _DEFAULT, 64, 2, 47, "reflected"),
    ("six iterations", _DEFAULT, 64, 6, 47, "reflected"),
    ("all iterations", _DEFAULT, 64, 32, None, "reflected"),
    ("slaney, another shift", _SLANEY, 40, 6, 3, "reflected"),
    ("slaney, all iterations", _SLANEY, 40, 32, None, "reflected"),
    ("shorter than a window, radix 11", _ODD, 5, 6, 1, "reflected"),
    ("one frame", _DEFAULT, 1, 6, 1, "reflected"),
    ("a loop, six iterations", _DEFAULT, 64, 6, 47, "loop"),
    ("a loop, all iterations", _DEFAULT, 64, 32, None, "loop"),
    ("a loop, another shift", _SLANEY, 40, 6, 3, "loop"),
    ("a loop shorter than a window", _ODD, 4, 6, 1, "loop"),
    ("a part as a loop", _DEFAULT, 64, 2, 3, "part as a loop"),
)
"""Name, parameters, columns, iterations, the kept samples: one of so many, or none, and the ends.

Iterations amplify rounding. After six, the waveform differs at -100 dB if the input changes in the
last bit; after 32 at -15 to -80 dB, and only the error of its mel amplitudes is comparable.
"""

_RATES = (
    _DEFAULT,
    _SLANEY,
    _ODD,
    SpectrogramParams(sample_rate=22050),
    SpectrogramParams(sample_rate=48000),
    SpectrogramParams(sample_rate=32000, max_frequency=7000),
    SpectrogramParams(sample_rate=11025, max_frequency=5000, num_frequencies=64),
    SpectrogramParams(sample_rate=22050, window_duration_ms=93, step_size_ms=23),
    SpectrogramParams(sample_rate=44100, max_frequency=4000),
    SpectrogramParams(sample_rate=44100, max_frequency=3000, window_duration_ms=50),
)
_SIGNALS = (
    ("a steady tone", 44100, 44100, 0.05, 0.0, 97, False),
    ("a tone above full scale", 44100, 44100, 3.0, 0.0, 97, False),
    ("drums", 44100, 44100, 0.1, 0.8, 31, False),
    ("a lone click", 44100, 44100, 0.0, 0.5, 49, False),
    ("shorter than a block", 22050, 2205, 0.1, 0.3, 5, False),
    ("silence", 44100, 22050, 0.0, 0.0, 997, False),
    ("a loop of drums", 44100, 44101, 0.1, 0.8, 31, True),
    ("a loop of a few samples", 22050, 25, 0.9, 0.8, 1, True),
    ("drums at a high rate", 96000, 72000, 0.1, 0.8, 71, False),
    ("a click in a short loop", 22050, 301, 0.0, 0.5, 1, True),
    ("shorter than the attack", 8000, 30, 0.2, 0.5, 1, False),
)
"""Name, sample rate, samples, amplitudes of tone and clicks, which samples are kept, and whether it
is a loop."""
_CLICK_PERIOD_S = 0.25


def example_image(num_rows: int, num_columns: int) -> Image.Image:
    """Six partials that change every 16 columns and fade, and noise; in whole numbers only."""
    band = np.arange(num_rows - 1, -1, -1)[:, None]
    column = np.arange(num_columns)[None]
    darkness = np.zeros((num_rows, num_columns), int)
    for partial in range(1, 7):
        centre = num_rows * partial // 8 + column // 16 * partial * 5 % 11
        level = 220 - 40 * np.abs(band - centre) - 3 * (column % 16) - 12 * partial
        darkness = np.maximum(darkness, level)
    noise = (band * 7919 + column * 104729 + band * column * 31) % 23
    pixels = 255 - np.minimum(255, darkness + noise)
    return Image.fromarray(pixels.astype(np.uint8)).convert("RGB")


def example_loop(num_rows: int, num_columns: int) -> Image.Image:
    """The first half of an `example_image` and its mirror image, so the end leads to the start."""
    half = np.asarray(example_image(num_rows, num_columns // 2))
    return Image.fromarray(np.concatenate([half, half[:, ::-1]], axis=1))


def example_signal(sample_rate: int, num_samples: int, tone: float, clicks: float) -> Waveform:
    """A tone of 440 Hz and four fading clicks per second; without tone a single click."""
    times = np.arange(num_samples)
    waveform = tone * np.sin(2 * np.pi * 440 * times / sample_rate)
    period = round(_CLICK_PERIOD_S * sample_rate)
    starts = range(period // 2, num_samples - 3, period) if tone else [num_samples // 2]
    for number, start in enumerate(starts):
        waveform[start : start + 3] += clicks * 0.9**number * np.array([1, -1, 0.5])
    return waveform.astype(np.float32)[None]


def golden() -> dict[str, Any]:
    """The file's content."""
    return {
        "clips": [_clip(*clip) for clip in _CLIPS],
        "rates": [_rate(params) for params in _RATES],
        "filterbanks": [_filterbank(params) for params in (_SLANEY, _ODD)],
        "loudness": [_loudness(*signal) for signal in _SIGNALS],
    }


def _clip(
    name: str,
    params: SpectrogramParams,
    num_columns: int,
    num_iterations: int,
    step: int | None,
    ends: Ends,
) -> dict[str, Any]:
    params = dataclasses.replace(params, num_griffin_lim_iters=num_iterations)
    make_image = example_loop if ends == "loop" else example_image
    image = make_image(params.num_frequencies, num_columns)
    amplitudes = spectrogram_from_image(image, power=params.power_for_image)
    converter = SpectrogramConverter(params)
    waveform = converter.waveform_from_spectrogram(amplitudes, False, ends != "reflected")
    return {
        "name": name,
        "params": dataclasses.asdict(params),
        "columns": num_columns,
        "ends": ends,
        "num_samples": waveform.shape[1],
        "convergence": _convergence(converter, waveform, amplitudes),
        "kept": None if step is None else _kept(waveform[0], step),
    }


def _convergence(
    converter: SpectrogramConverter, waveform: Waveform, amplitudes: FloatArray
) -> float:
    """Distance of the waveform's mel amplitudes from those that it was to have, of all of them."""
    found = converter.mel_amplitudes_from_waveform(waveform)[..., : amplitudes.shape[-1]]
    wanted = amplitudes / np.float32(FULL_SCALE)
    return float(np.linalg.norm(wanted - found) / np.linalg.norm(wanted))


def _rate(params: SpectrogramParams) -> dict[str, Any]:
    fine, coarse = (ReducedStft(params, NumpyOperations(), windows) for windows in (2, 1))
    return {
        "params": dataclasses.asdict(params),
        "hop": fine.hop,
        "window_length": fine.window_length,
        "min_frames": fine.min_frames,
        "fine_size": fine.n_fft,
        "coarse_size": coarse.n_fft,
        "full_size": fine.full_n_fft,
    }


def _filterbank(params: SpectrogramParams) -> dict[str, Any]:
    stft = ReducedStft(params, NumpyOperations(), 1)
    reduced = interpolated_weights(params, stft.bin_hz, stft.num_bins)
    return {
        "params": dataclasses.asdict(params),
        "bands": _columns(mel_filterbank(params)),
        "reduced": _columns(reduced),
    }


def _columns(matrix: FloatArray) -> dict[str, Any]:
    """The columns of a matrix without the zeros at their ends."""
    rows, weights = [], []
    for column in matrix.T:
        (indices,) = np.nonzero(column)
        first, end = (indices[0], indices[-1] + 1) if len(indices) else (0, 0)
        rows += [int(first), int(end - first)]
        weights.append(column[first:end])
    return {"rows": rows, "weights": base64_text(np.concatenate(weights).astype("<f4"))}


def _loudness(
    name: str,
    sample_rate: int,
    num_samples: int,
    tone: float,
    clicks: float,
    step: int,
    circular: bool,
) -> dict[str, Any]:
    waveform = example_signal(sample_rate, num_samples, tone, clicks)
    loudness = measure_loudness(waveform, sample_rate)
    result = normalize_waveform(waveform, sample_rate, circular=circular)
    peak = true_peak_db(result, circular=circular)
    return {
        "name": name,
        "sample_rate": sample_rate,
        "num_samples": num_samples,
        "tone": tone,
        "clicks": clicks,
        "circular": circular,
        "lufs": loudness if np.isfinite(loudness) else None,
        "true_peak_db": peak if np.isfinite(peak) else None,
        "kept": _kept(result[0], step),
    }


def _kept(waveform: FloatArray, step: int) -> dict[str, Any]:
    """Every `step`-th sample as an integer of 16 bits, whose full scale is `peak`."""
    samples = waveform[::step]
    peak = float(np.abs(samples).max()) or 1.0
    integers = np.rint(samples / peak * (FULL_SCALE - 1)).astype("<i2")
    return {"step": step, "peak": peak, "samples": base64_text(integers)}


def main() -> None:
    """Write the file."""
    write_json(GOLDEN, golden(), indent=1)


if __name__ == "__main__":
    main()
