"""Upstream Riffusion's names, and the arguments and results that its scripts rely on."""

import base64
import importlib
import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.audio import num_samples, read_audio, segment_from_waveform, write_audio
from riffusion.cli import audio_to_image, image_to_audio, print_exif, sample_clips
from riffusion.datatypes import InferenceInput, InferenceOutput, PromptInput
from riffusion.io.images import read_image
from riffusion.riffusion_pipeline import preprocess_image, preprocess_mask
from riffusion.spectrogram_converter import SpectrogramConverter
from riffusion.spectrogram_image_converter import SpectrogramImageConverter
from riffusion.spectrogram_params import SpectrogramParams
from riffusion.util import audio_util, base64_util, fft_util, image_util, torch_util

ROUND_TRIP_RTOL = 0.15
"""Relative error of amplitudes that upstream allows for 8 bits per pixel."""
NEGLIGIBLE = 1e-8
"""Share of the maximum, -160 dB, below which one grey level is more than 15 %."""

ALIASES = {
    "spectrogram_params": {"SpectrogramParams": "spectrogram.params"},
    "spectrogram_converter": {"SpectrogramConverter": "spectrogram.converter"},
    "spectrogram_image_converter": {"SpectrogramImageConverter": "spectrogram.image_converter"},
    "riffusion_pipeline": {
        "RiffusionPipeline": "diffusion",
        "preprocess_image": "diffusion.upstream",
        "preprocess_mask": "diffusion.upstream",
    },
    "server": {"main": "cli.server", "run_app": "cli.server"},
    "util.audio_util": {
        "apply_filters": "audio.upstream",
        "audio_from_waveform": "audio.upstream",
        "overlay_segments": "audio.upstream",
        "stitch_segments": "audio.upstream",
    },
    "util.base64_util": {"encode": "io.data_urls:base64_from_buffer"},
    "util.fft_util": {"compute_fft": "audio.spectrum", "plot_ffts": "audio.spectrum"},
    "util.image_util": {
        "exif_from_image": "spectrogram.params",
        "image_from_spectrogram": "spectrogram.image",
        "spectrogram_from_image": "spectrogram.image",
    },
    "util.torch_util": {"check_device": "runtime.devices", "slerp": "diffusion.upstream"},
}
"""Per module of upstream: its names, and the module (and name, if another) of the original."""


@pytest.mark.parametrize("module", ALIASES)
def test_upstreams_names_are_aliases_of_the_originals(module: str) -> None:
    alias = importlib.import_module(f"riffusion.{module}")
    assert sorted(alias.__all__) == sorted(ALIASES[module])
    for name, place in ALIASES[module].items():
        original_module, _, original_name = place.partition(":")
        original = importlib.import_module(f"riffusion.{original_module}")
        assert getattr(alias, name) is getattr(original, original_name or name)


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """6 s of stereo noise whose loudness varies."""
    rng = np.random.default_rng(0)
    t = np.arange(6 * 44100) / 44100
    noise = 0.1 * rng.standard_normal((2, t.size)) * (1 + np.sin(2 * np.pi * 2 * t))
    write_audio(segment_from_waveform(noise.clip(-1, 1), 44100), tmp_path / "song.wav")
    return tmp_path / "song.wav"


def test_command_functions_with_upstreams_keywords(
    song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_clips(
        audio=str(song),
        output_dir=str(tmp_path / "clips"),
        num_clips=1,
        duration_ms=5678,
        mono=False,
        extension="wav",
        seed=42,
    )
    (clip,) = (tmp_path / "clips").iterdir()
    segment = read_audio(clip)
    assert round(segment.duration_seconds * 1000) == 5678
    assert segment.channels == 2

    image = tmp_path / "clip.png"
    audio_to_image(
        audio=str(clip),
        image=str(image),
        step_size_ms=10,
        num_frequencies=512,
        min_frequency=0,
        max_frequency=10000,
        stereo=False,
        device="cpu",
    )
    spectrogram = read_image(image)
    assert spectrogram.size == (568, 512)
    assert SpectrogramParams.from_exif(spectrogram.getexif()) == SpectrogramParams()
    print_exif(image=str(image))
    assert "NUM_FREQUENCIES      =             512" in capsys.readouterr().out

    part = spectrogram.crop((0, 0, 50, 512))
    part.save(image, exif=spectrogram.getexif())
    image_to_audio(image=str(image), audio=str(tmp_path / "back.wav"), device="cpu")
    assert num_samples(read_audio(tmp_path / "back.wav")) == 50 * 441


def test_datatypes_have_upstreams_fields_and_defaults() -> None:
    request = InferenceInput(
        start=PromptInput(prompt="church bells", seed=42),
        end=PromptInput(prompt="jazz", seed=123, denoising=0.75, guidance=7.0),
        alpha=0.25,
    )
    assert (request.num_inference_steps, request.seed_image_id) == (50, "og_beat")
    assert request.mask_image_id is None
    assert (request.start.negative_prompt, request.start.denoising) == (None, 0.75)
    answer = InferenceOutput(image="i", audio="a", duration_s=5.12)
    assert (answer.image, answer.audio, answer.duration_s) == ("i", "a", 5.12)


def test_audio_to_image_and_back(song: Path) -> None:
    converter = SpectrogramImageConverter(params=SpectrogramParams(stereo=True), device="cpu")
    image = converter.spectrogram_image_from_audio(read_audio(song)[:500])
    segment = converter.audio_from_spectrogram_image(image=image, apply_filters=True)
    assert (segment.channels, num_samples(segment)) == (2, image.width * 441)


def test_image_util_round_trip(song: Path) -> None:
    segment = read_audio(song)[:500].set_channels(1)
    params = SpectrogramParams(sample_rate=segment.frame_rate)
    spectrogram = SpectrogramConverter(params=params, device="cpu").spectrogram_from_audio(segment)
    image = image_util.image_from_spectrogram(spectrogram=spectrogram, power=params.power_for_image)
    max_value = np.max(spectrogram)
    back = image_util.spectrogram_from_image(
        image=image, max_value=max_value, power=params.power_for_image, stereo=params.stereo
    )
    assert back.shape == spectrogram.shape
    assert np.max(back) == max_value
    assert np.allclose(spectrogram, back, rtol=ROUND_TRIP_RTOL, atol=NEGLIGIBLE * max_value)


def test_exif_from_image() -> None:
    image = Image.new("RGB", (1, 1))
    assert image_util.exif_from_image(image) == {}
    image.getexif().update({0x010F: "camera", **SpectrogramParams(stereo=True).to_exif()})
    tags = image_util.exif_from_image(image)
    assert (tags["STEREO"], tags["NUM_FREQUENCIES"], "MAX_VALUE" in tags) == (1, 512, False)


def test_base64_is_one_line() -> None:
    data = bytes(range(256)) * 3
    text = base64_util.encode(io.BytesIO(data))
    assert "\n" not in text
    assert base64.b64decode(text) == data


def test_check_device(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert torch_util.check_device("cpu") == "cpu"
    with caplog.at_level(logging.WARNING):
        assert torch_util.check_device("CUDA:1", backup="meta") == "meta"
    assert "cuda:1" in caplog.text


def test_slerp_stays_on_the_circle() -> None:
    start, end = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    middle = torch_util.slerp(0.5, start, end, dot_threshold=0.9995)
    assert torch.allclose(middle, torch.full((1, 2), 0.5**0.5))


def test_fft_of_a_tone() -> None:
    t = np.arange(44100) / 44100
    tone = 0.5 * np.sin(2 * np.pi * 1000 * t)
    segment = segment_from_waveform(np.stack([tone, tone]), 44100)
    frequencies, amplitudes = fft_util.compute_fft(segment)
    assert frequencies[np.argmax(amplitudes)] == 1000
    # Half of the samples times the amplitude, in 16-bit units.
    assert amplitudes.max() == pytest.approx(44100 / 2 * 0.5 * 2**15, rel=1e-4)


def test_plot_ffts_has_one_labelled_line_per_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels: list[str] = []
    monkeypatch.setattr(
        pyplot, "show", lambda: labels.extend(line.get_label() for line in pyplot.gca().lines)
    )
    segment = segment_from_waveform(np.ones((1, 100), np.float32) * 0.1, 44100)
    fft_util.plot_ffts({"original": segment, "default": segment})
    pyplot.close()
    assert labels == ["original", "default"]


def test_audio_util(song: Path) -> None:
    samples = np.array([[0, 16384, -32768, 32767]])
    segment = audio_util.audio_from_waveform(samples, 44100)
    assert segment.get_array_of_samples().tolist() == samples[0].tolist()
    loud = audio_util.audio_from_waveform(samples / 1000, 44100, normalize=True)
    assert abs(min(loud.get_array_of_samples())) >= 32767
    first, second = read_audio(song)[:1000], read_audio(song)[:2000]
    assert len(audio_util.stitch_segments([first, second], crossfade_s=0.5)) == 2500
    assert len(audio_util.overlay_segments([first, second])) == 1000
    assert len(audio_util.apply_filters(first, compression=False)) == 1000


def test_preprocessing() -> None:
    image = Image.new("RGB", (100, 70), (255, 0, 0))
    pixels = preprocess_image(image)
    assert pixels.shape == (1, 3, 64, 96)
    assert pixels[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]
    mask = Image.new("L", (64, 64), 255)
    mask.paste(0, (0, 0, 32, 64))  # black on the left means keep
    kept = preprocess_mask(mask)
    assert kept.shape == (1, 4, 8, 8)
    assert torch.equal(kept[0, 0], torch.tensor([1.0] * 4 + [0.0] * 4).expand(8, 8))
