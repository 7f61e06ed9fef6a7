"""Notes → loop → image: right pitch and time, no seam, and independent of earlier clips."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpora.general_midi import synthesizer as synthesizer_module
from corpora.general_midi.composition import compose
from corpora.general_midi.images import image_bytes
from corpora.general_midi.notes import DRUM_BANK, Note, Part
from corpora.general_midi.sounds import SOUNDS
from corpora.general_midi.synthesizer import Synthesizer, find_soundfont
from riffusion.audio.waveform import Waveform
from riffusion.errors import InputError, RiffusionError
from riffusion.loops.seed_images import loop_image
from riffusion.spectrogram.params import SpectrogramParams
from tests.corpora.sine_soundfont import write_sine_soundfont
from tests.needs import FLUIDSYNTH, SOUNDFONT, need

PARAMS = SpectrogramParams()
NUM_SAMPLES = 512 * 441
BEATS = 8
FLUTE, ORGAN, TUBULAR_BELLS = 73, 19, 14
CLAVES = 75

LOWEST_HZ = 20
PITCH_TOLERANCE_HZ = 0.2
"""An FFT of 5.12 s has a bin every 0.195 Hz."""
SAMPLED_PITCH_TOLERANCE_CENTS = 15.0
"""Recorded instruments may be out of tune by this much."""
ONSET_TOLERANCE_FRAMES = 1
"""Claves have a fast attack: their sample starts within 10 ms."""
IMAGE_TOLERANCE = 2
"""Grey levels of 255: single precision, and the sidelobes that the faster analysis ignores."""
QUIETEST_PEAK = 0.02
"""-34 dB: a quieter sound would be inaudible beside the others."""


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    need(FLUIDSYNTH, SOUNDFONT)
    return Synthesizer(find_soundfont())


@pytest.fixture(scope="module")
def sines(tmp_path_factory: pytest.TempPathFactory) -> Synthesizer:
    """A synthesizer with only a flute, which plays sines."""
    need(FLUIDSYNTH)
    path = tmp_path_factory.mktemp("soundfont") / "sine.sf2"
    return Synthesizer(write_sine_soundfont(path, [(0, FLUTE)]))


@pytest.fixture
def fresh_library() -> Iterator[None]:
    """The library is loaded again."""
    synthesizer_module._fluidsynth_library.cache_clear()
    yield
    synthesizer_module._fluidsynth_library.cache_clear()


def render(synthesizer: Synthesizer, *parts: Part, reverb: float = 0.3) -> Waveform:
    return synthesizer.render_loop(parts, BEATS, NUM_SAMPLES, reverb)


def loudest_hz(waveform: Waveform) -> float:
    spectrum = np.abs(np.fft.rfft(waveform[0]))
    spectrum[: round(LOWEST_HZ * NUM_SAMPLES / 44100)] = 0  # some soundfonts have an offset
    return int(spectrum.argmax()) * 44100 / NUM_SAMPLES


def mel(frequency_hz: float) -> float:
    """O'Shaughnessy's formula, as in HTK."""
    return float(2595 * np.log10(1 + frequency_hz / 700))


def row_of(frequency_hz: float) -> int:
    """Row of the image, from the top, whose band is centred nearest to a frequency."""
    band = mel(frequency_hz) / mel(PARAMS.max_frequency) * (PARAMS.num_frequencies + 1) - 1
    return PARAMS.num_frequencies - 1 - round(band)


@pytest.mark.parametrize(("pitch", "frequency_hz"), [(69, 440.0), (81, 880.0), (60, 261.626)])
def test_pitch(sines: Synthesizer, pitch: int, frequency_hz: float) -> None:
    waveform = render(sines, Part(FLUTE, (Note(0, 8, pitch, 90),)))
    assert waveform.shape == (1, NUM_SAMPLES)
    assert waveform.dtype == np.float32
    assert loudest_hz(waveform) == pytest.approx(frequency_hz, abs=PITCH_TOLERANCE_HZ)
    image = Image.open(io.BytesIO(image_bytes(waveform, PARAMS)))
    darkest = int(np.asarray(image).mean(axis=1).argmin())
    assert abs(darkest - row_of(frequency_hz)) <= 1


@pytest.mark.parametrize("label", ["flute", "piano", "organ", "violin", "synth"])
def test_instruments_are_in_tune(synthesizer: Synthesizer, label: str) -> None:
    waveform = render(synthesizer, Part(SOUNDS[label].programs[0], (Note(0, 8, 69, 90),)))
    octaves = np.log2(loudest_hz(waveform) / 440)  # the loudest partial may be an overtone
    overtone = round(2**octaves)
    assert 1200 * abs(octaves - np.log2(overtone)) < SAMPLED_PITCH_TOLERANCE_CENTS


def test_beats_are_whole_frames(synthesizer: Synthesizer) -> None:
    """8 beats in 512 frames: one every 64."""
    hits = tuple(Note(beat, 0.25, CLAVES, 110) for beat in range(BEATS))
    waveform = render(synthesizer, Part(0, hits, DRUM_BANK), reverb=0.0)
    peaks = np.abs(waveform.reshape(512, 441)).max(axis=1)
    loud = peaks > 0.3 * peaks.max()
    onsets = np.flatnonzero(loud & ~np.roll(loud, 1))
    assert len(onsets) == BEATS
    assert np.abs(onsets - 64 * np.arange(BEATS)).max() <= ONSET_TOLERANCE_FRAMES


def test_the_tail_continues_at_the_start(synthesizer: Synthesizer) -> None:
    late = render(synthesizer, Part(TUBULAR_BELLS, (Note(7.5, 2, 69, 100),)))[0]
    early = render(synthesizer, Part(TUBULAR_BELLS, (Note(2, 2, 69, 100),)))[0]
    beat = NUM_SAMPLES // BEATS
    # The same note, shifted circularly by five and a half beats: as loud in every half beat.
    moved = np.roll(early, round(5.5 * beat))
    for start in range(0, NUM_SAMPLES, beat // 2):
        levels = [np.sqrt(np.mean(x[start : start + beat // 2] ** 2)) for x in (late, moved)]
        assert levels[0] == pytest.approx(levels[1], rel=0.1)


def test_no_click_at_the_seam(synthesizer: Synthesizer) -> None:
    """The step over the seam is no larger than the others, while a chord is held across it."""
    chord = tuple(Note(4, 8, pitch, 100) for pitch in (57, 60, 64))
    waveform = render(synthesizer, Part(ORGAN, chord))[0]
    steps = np.abs(np.diff(waveform))
    assert np.abs(waveform[:4410]).max() > 0.02  # the chord is there
    assert abs(float(waveform[0] - waveform[-1])) <= steps[:4410].max()


def test_a_clip_does_not_depend_on_earlier_ones(synthesizer: Synthesizer) -> None:
    clips = [
        compose(SOUNDS[label], "train", 0, 0) for label in ("jazz trio", "church bells", "synth")
    ]

    def play(number: int) -> bytes:
        clip = clips[number]
        return synthesizer.render_loop(clip.parts, clip.beats, NUM_SAMPLES, clip.reverb).tobytes()

    forwards = [play(0), play(1), play(2)]
    backwards = [play(2), play(1), play(0)]
    assert forwards == backwards[::-1]
    other = Synthesizer(find_soundfont())
    clip = clips[1]
    assert (
        other.render_loop(clip.parts, clip.beats, NUM_SAMPLES, clip.reverb).tobytes() == forwards[1]
    )


def test_every_sound_is_audible_and_none_clips(synthesizer: Synthesizer) -> None:
    for label, sound in SOUNDS.items():
        clip = compose(sound, "train", 1, 0)
        waveform = synthesizer.render_loop(clip.parts, clip.beats, NUM_SAMPLES, clip.reverb)
        assert np.isfinite(waveform).all()
        assert QUIETEST_PEAK < np.abs(waveform).max() <= 0.981, label


def test_clipping_is_prevented(synthesizer: Synthesizer) -> None:
    cluster = tuple(Note(0, 8, pitch, 127) for pitch in range(48, 72))
    waveform = render(synthesizer, *(Part(61, cluster, volume=127) for _ in range(4)))
    assert np.abs(waveform).max() == pytest.approx(0.98, abs=1e-4)


def test_the_same_key_twice_is_two_notes(synthesizer: Synthesizer) -> None:
    """A key that is struck while it is held is released first."""
    overlapping = (Note(0, 8, 69, 90), Note(2, 1, 69, 90))
    cut = (Note(0, 2, 69, 90), Note(2, 1, 69, 90))
    first, second = (render(synthesizer, Part(ORGAN, notes)) for notes in (overlapping, cut))
    assert np.array_equal(first, second)


def test_the_image_equals_loop_image(synthesizer: Synthesizer) -> None:
    clip = compose(SOUNDS["rock band"], "train", 0, 0)
    waveform = synthesizer.render_loop(clip.parts, clip.beats, NUM_SAMPLES)
    image = Image.open(io.BytesIO(image_bytes(waveform, PARAMS)))
    expected = loop_image(waveform, PARAMS)
    assert (image.mode, image.size, image.format) == ("L", (512, 512), "PNG")
    difference = np.asarray(image, int) - np.asarray(expected.getchannel(0), int)
    assert np.abs(difference).max() <= IMAGE_TOLERANCE
    exif, expected_exif = image.getexif(), Image.Exif()
    expected_exif.load(expected.info["exif"])
    assert SpectrogramParams.from_exif(exif) == PARAMS
    assert dict(exif).keys() == dict(expected_exif).keys()


def test_a_circular_shift_of_the_loop_shifts_the_image(synthesizer: Synthesizer) -> None:
    clip = compose(SOUNDS["piano"], "train", 0, 0)
    waveform = synthesizer.render_loop(clip.parts, clip.beats, NUM_SAMPLES)
    pixels, shifted = (
        np.asarray(Image.open(io.BytesIO(image_bytes(x, PARAMS))), int)
        for x in (waveform, np.roll(waveform, 100 * 441, axis=-1))
    )
    assert np.abs(np.roll(pixels, 100, axis=1) - shifted).max() <= 1  # rounding


def test_missing_soundfonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no\.sf2' is not a file.*apt-get install fluidsynth"):
        find_soundfont(tmp_path / "no.sf2")
    monkeypatch.setattr(synthesizer_module, "DEFAULT_SOUNDFONTS", (str(tmp_path / "a.sf3"),))
    with pytest.raises(InputError, match="musescore-general-soundfont-small"):
        find_soundfont()
    (tmp_path / "a.sf3").touch()
    assert find_soundfont() == tmp_path / "a.sf3"


@pytest.mark.parametrize(
    "content", [b"", b"a letter, not a soundfont", b"RIFF\x00\x10\x00\x00sfbk"]
)
def test_a_broken_soundfont(
    content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    need(FLUIDSYNTH)
    (tmp_path / "broken.sf2").write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.sf2' is not a soundfont"):
        Synthesizer(tmp_path / "broken.sf2")
    if not content.startswith(b"RIFF"):
        assert capfd.readouterr() == ("", "")  # FluidSynth prints nothing


@pytest.mark.parametrize(("bank", "program"), [(0, 0), (DRUM_BANK, 0), (DRUM_BANK, FLUTE)])
def test_an_instrument_that_the_soundfont_lacks(
    sines: Synthesizer, bank: int, program: int
) -> None:
    part = Part(program, (Note(0, 1, 36, 90),), bank)
    with pytest.raises(InputError, match=f"no bank={bank}, program={program}; name a complete"):
        render(sines, part)


@pytest.mark.parametrize("value", ["1", "true", "no"])
def test_loading_fluidsynth_prints_nothing_if_ci_is_set(
    value: str,
    fresh_library: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    need(FLUIDSYNTH)
    synthesizer_module._fluidsynth_library.cache_clear()  # which `need` has filled
    monkeypatch.setenv("CI", value)
    monkeypatch.delitem(sys.modules, "fluidsynth", raising=False)
    Synthesizer(write_sine_soundfont(tmp_path / "sine.sf2", [(0, FLUTE)]))
    assert capfd.readouterr() == ("", "")


def test_without_fluidsynth(
    fresh_library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfont = write_sine_soundfont(tmp_path / "sine.sf2", [(0, FLUTE)])
    monkeypatch.setitem(sys.modules, "fluidsynth", None)  # its import fails
    with pytest.raises(RiffusionError, match="cannot be loaded.*apt-get install fluidsynth"):
        Synthesizer(soundfont)


def test_a_fluidsynth_that_cannot_be_loaded(
    fresh_library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfont = write_sine_soundfont(tmp_path / "sine.sf2", [(0, FLUTE)])
    (tmp_path / "libfluidsynth.so").write_bytes(b"not a library")
    monkeypatch.delitem(sys.modules, "fluidsynth", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda _: str(tmp_path / "libfluidsynth.so"))
    with pytest.raises(RiffusionError, match="cannot be loaded.*apt-get install fluidsynth"):
        Synthesizer(soundfont)
