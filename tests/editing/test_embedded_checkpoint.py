"""Edits with the embedded checkpoint: joins without novelty, a beat that goes on, and stays."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import Recording, measure_loudness
from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.editing.beat_grid import find_beat_grid
from riffusion.editing.extending import extend
from riffusion.editing.listening import listen
from riffusion.editing.regions import Region
from riffusion.editing.repainting import repaint
from riffusion.editing.restyling import restyle
from riffusion.editing.splicing import write_spliced
from riffusion.editing.varying import vary
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.loops.tempo import onset_strength
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.novelty import flux, near
from tests.editing.recordings import write

RATE = 44_100
TEMPO_BPM = 93.75
BEAT_S = 60 / TEMPO_BPM


@pytest.fixture(scope="module")
def embedded() -> Iterator[ClipGenerator]:
    generator = ClipGenerator.load(device="cpu")
    yield generator
    generator.close()


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop of eight beats, nearly twice: it ends between two beats, where a click is heard."""
    image = SeedLibrary.default(None).seed_image("og_beat")
    loop = SpectrogramImageConverter(
        SpectrogramParams(), device="cpu"
    ).waveform_from_spectrogram_image(image)
    loop = np.tile(loop, 2)[:, : round(15.5 * BEAT_S * RATE)]
    samples = np.round(loop * 2**15).astype(np.int32).clip(-(2**15), 2**15 - 1) << 16
    return write(tmp_path_factory.mktemp("song") / "song.wav", samples, RATE, 16)


def request(denoising: float) -> InferenceInput:
    start = {"prompt": "piano", "seed": 3, "denoising": denoising, "guidance": 4.0}
    return InferenceInput.parse({"start": start, "preset": "fast"})


def heard(path: Path) -> Waveform:
    with Recording.open(path) as recording:
        return recording.waveform(0, recording.num_samples)


def test_a_repainted_section_joins_without_novelty_and_is_as_loud(
    embedded: ClipGenerator, song: Path, tmp_path: Path
) -> None:
    from_s, to_s = 5.5 * BEAT_S, 9.5 * BEAT_S
    with Recording.open(song) as recording:
        parts = repaint(recording, embedded, request(1.0), Region(from_s, to_s))
        write_spliced(recording, parts, tmp_path / "out.wav")
    before, after = heard(song), heard(tmp_path / "out.wav")
    limit = np.percentile(flux(before), 99)
    assert near(flux(after), round(from_s * RATE)) <= limit
    assert near(flux(after), round(to_s * RATE)) <= limit
    inside = slice(round((from_s + 0.2) * RATE), round((to_s - 0.2) * RATE))
    loudness = [measure_loudness(each[:, inside], RATE) for each in (before, after)]
    assert loudness[1] == pytest.approx(loudness[0], abs=3)
    assert np.corrcoef(before[0, inside], after[0, inside])[0, 1] < 0.5


def test_an_extended_recording_keeps_its_beat_and_loudness(
    embedded: ClipGenerator, song: Path, tmp_path: Path
) -> None:
    with Recording.open(song) as recording:
        parts = extend(
            recording,
            embedded,
            request(0.5),
            after_s=8 * BEAT_S,
            before_s=4 * BEAT_S,
            bar_s=4 * BEAT_S,
        )
        write_spliced(recording, parts, tmp_path / "out.wav")
    with Recording.open(tmp_path / "out.wav") as longer:
        grid = find_beat_grid(listen(longer), TEMPO_BPM)
    assert abs(grid.tempo_bpm / TEMPO_BPM - 1) < 0.005
    halves = grid.beats_s / (BEAT_S / 2)  # the tracker may take the beats between the beats
    assert np.median(np.abs(halves - np.rint(halves))) * BEAT_S / 2 < 0.02
    after, own = heard(tmp_path / "out.wav"), heard(song)
    begin = round(4 * BEAT_S * RATE)
    for new in (after[:, : begin - RATE // 50], after[:, begin + own.shape[1] :]):
        assert abs(measure_loudness(new, RATE) - measure_loudness(own, RATE)) < 1
    limit = np.percentile(flux(own), 99)
    assert near(flux(after), begin + own.shape[1]) <= limit


def test_a_restyled_recording_keeps_its_beat_and_loudness(
    embedded: ClipGenerator, song: Path, tmp_path: Path
) -> None:
    with Recording.open(song) as recording:
        write_spliced(recording, restyle(recording, embedded, request(0.5)), tmp_path / "out.wav")
    sounds = [heard(path) for path in (song, tmp_path / "out.wav")]
    before, after = (onset_strength(each, RATE) for each in sounds)
    assert np.corrcoef(before, after)[0, 1] > 0.5
    loudness = [measure_loudness(each, RATE) for each in sounds]
    assert loudness[1] == pytest.approx(loudness[0], abs=3)


def test_a_loop_comes_back_from_its_own_noise(
    embedded: ClipGenerator, song: Path, tmp_path: Path
) -> None:
    """Plain DDIM inversion, whose guess isn't extrapolated, brings it back to about 8 dB."""
    samples = np.round(heard(song)[:, : round(5.12 * RATE)] * 2**15).astype(np.int32) << 16
    inputs = request(1.0).model_copy(update={"num_inference_steps": 12})
    with Recording.open(write(tmp_path / "loop.wav", samples, RATE, 16)) as recording:
        made = vary(recording, embedded, inputs, 0.1, 1)
        write_spliced(recording, made.clips[0], tmp_path / "out.wav")
        length = recording.num_samples
    (closeness,) = made.closeness
    assert closeness.latents_db > 15
    assert closeness.image_error < 1.5 * closeness.autoencoder_error
    assert heard(tmp_path / "out.wav").shape == (1, length)
