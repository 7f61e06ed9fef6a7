"""Beat and pitch of images of known sounds."""

import numpy as np
import pytest

from riffusion.evaluation.images import (
    image_from_plane,
    loudness,
    plane_from_image,
    shrink,
)
from riffusion.evaluation.metrics.chroma import chroma_from_plane, pitch_agreement
from riffusion.evaluation.metrics.onsets import beat_agreement, correlation, onset_envelope
from riffusion.spectrogram.params import SpectrogramParams
from tests.corpora.small_corpus import BEATS, LABELS, PARAMS, SIDE, play, tone_image

PARAMS_512 = SpectrogramParams()
A = 9
ONSET_FRAMES = 2
"""Maximum delay of the flux's peak after its onset: it rises over a window."""


@pytest.fixture(scope="module")
def drums() -> np.ndarray:
    return plane_from_image(play("drums", 0), PARAMS)


def test_a_clip_agrees_with_itself(drums: np.ndarray) -> None:
    assert beat_agreement(drums, drums, PARAMS) == pytest.approx(1)
    for label in LABELS:
        plane = plane_from_image(play(label, 1), PARAMS)
        assert pitch_agreement(plane, plane, PARAMS) == pytest.approx(1)


def test_a_shifted_clip_agrees_less(drums: np.ndarray) -> None:
    half_a_beat = SIDE // BEATS // 2
    for shift in (3, half_a_beat // 2):
        assert beat_agreement(drums, np.roll(drums, shift, axis=1), PARAMS) < 0.5
    both = [np.roll(drums, 5, axis=1), np.roll(drums[:, ::-1], 5, axis=1)]
    unmoved = beat_agreement(drums, drums[:, ::-1], PARAMS)
    assert beat_agreement(*both, PARAMS) == pytest.approx(unmoved)


def test_softer_and_duller_clips_keep_their_beat(drums: np.ndarray) -> None:
    duller = (drums * np.linspace(0.4, 0.9, SIDE)[:, None]).astype(np.uint8)
    assert beat_agreement(drums, duller, PARAMS) > 0.9


def test_onsets_are_on_the_beats(drums: np.ndarray) -> None:
    envelope = onset_envelope(drums, PARAMS)
    beat = SIDE // BEATS
    assert (envelope >= 0).all()
    for number in range(BEATS):
        near = envelope[np.arange(number * beat - 1, number * beat + ONSET_FRAMES + 1) % SIDE]
        assert near.max() > 2 * envelope.mean(), number


def test_silence_has_no_agreement(drums: np.ndarray) -> None:
    silence = np.zeros_like(drums)
    assert beat_agreement(drums, silence, PARAMS) == 0
    assert pitch_agreement(drums, silence, PARAMS) == 0


def test_correlation_equals_numpys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 12, 30))
    assert correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert correlation(a, -3 * a + 2) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("frequency_hz", "pitch_class"), [(220.0, A), (440.0, A), (880.0, A), (261.63, 0), (1318.5, 4)]
)
def test_a_tone_has_the_chroma_of_its_note(frequency_hz: float, pitch_class: int) -> None:
    chroma = chroma_from_plane(plane_from_image(tone_image(frequency_hz), PARAMS_512), PARAMS_512)
    assert chroma.shape == (12, 256)
    assert (chroma.argmax(0) == pitch_class).all()
    assert np.abs(chroma.sum(0)).max() < 1e-9


def test_octaves_agree_and_tritones_do_not() -> None:
    tone, octave, tritone = (
        plane_from_image(tone_image(hz), PARAMS_512) for hz in (440.0, 880.0, 622.25)
    )
    assert pitch_agreement(tone, octave, PARAMS_512) > 0.8
    assert pitch_agreement(tone, tritone, PARAMS_512) < 0


def test_planes_and_images_are_inverses() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    for params in (SpectrogramParams(), SpectrogramParams(stereo=True)):
        image = image_from_plane(plane, params)
        assert (plane_from_image(image, params) == plane).all()
        red = np.asarray(image)[..., 0]
        assert (red == 0).all() == params.stereo  # as stereo images have it


def test_silence_is_zero_and_the_loudest_pixel_one() -> None:
    from PIL import Image

    white, black = (Image.new("RGB", (4, 4), colour) for colour in ("white", "black"))
    assert loudness(plane_from_image(white, PARAMS)).max() == 0
    assert loudness(plane_from_image(black, PARAMS)).min() == 1


def test_shrinking_takes_means_and_never_enlarges() -> None:
    plane = np.arange(64, dtype=np.uint8).reshape(8, 8)
    means = plane.reshape(4, 2, 4, 2).mean((1, 3))
    assert np.abs(shrink(plane, 4, 4) - means).max() <= 0.5  # rounding
    assert (shrink(plane, 100, 100) == plane).all()
