"""Spectrogram parameters: lengths, limits and EXIF."""

import dataclasses
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from riffusion.errors import MissingExifError, SpectrogramParamsError
from riffusion.spectrogram.params import ExifTags, SpectrogramParams

ORIENTATION, MAKE = 0x0112, 0x010F  # EXIF tags of a camera


@st.composite
def spectrogram_params(draw: st.DrawFn) -> SpectrogramParams:
    step_ms = draw(st.integers(1, 50))
    window_ms = draw(st.integers(step_ms + 1, 200))
    return SpectrogramParams(
        stereo=draw(st.booleans()),
        sample_rate=draw(st.integers(4000, 192_000)),
        step_size_ms=step_ms,
        window_duration_ms=window_ms,
        padded_duration_ms=draw(st.integers(window_ms, 400)),
        num_frequencies=draw(st.integers(1, 800)),  # at most 61 million cells
        min_frequency=draw(st.integers(0, 100)),
        max_frequency=draw(st.integers(1000, 20_000)),
        mel_scale_norm=draw(st.sampled_from([None, "slaney"])),
        mel_scale_type=draw(st.sampled_from(["htk", "slaney"])),
        max_mel_iters=draw(st.integers(1, 500)),
        num_griffin_lim_iters=draw(st.integers(0, 100)),
        power_for_image=draw(st.floats(0.01, 2.0)),
    )


def through_file(image: Image.Image, image_format: str) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, image_format, exif=image.getexif())
    return Image.open(io.BytesIO(buffer.getvalue()))


@given(params=spectrogram_params(), max_value=st.floats(1e-6, 1e9))
@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_exif_in_a_file_restores_every_field_and_the_maximum(
    image_format: str, params: SpectrogramParams, max_value: float
) -> None:
    image = Image.new("RGB", (8, 8))
    image.getexif().update(params.to_exif(max_value))
    exif = through_file(image, image_format).getexif()
    assert SpectrogramParams.from_exif(exif) == params
    assert SpectrogramParams.max_value_from_exif(exif) == max_value


def test_exif_numbers_are_upstreams() -> None:
    tags = SpectrogramParams().to_exif(max_value=1.5)
    assert {number: tags[number] for number in range(11000, 11081) if number in tags} == {
        11000: 44100,
        11005: 0,
        11010: 10,
        11020: 100,
        11030: 400,
        11040: 512,
        11050: 0,
        11060: 10000,
        11070: 0.25,
        11080: 1.5,
    }


def test_other_exif_tags_are_ignored() -> None:
    image = Image.new("RGB", (8, 8))
    image.getexif().update({ORIENTATION: 6, MAKE: "A camera", **SpectrogramParams().to_exif()})
    exif = through_file(image, "jpeg").getexif()
    assert exif[ORIENTATION] == 6
    assert SpectrogramParams.from_exif(exif) == SpectrogramParams()


def test_image_without_parameters_is_a_key_error_as_upstream_scripts_expect() -> None:
    with pytest.raises(KeyError) as caught:
        SpectrogramParams.from_exif({ORIENTATION: 6})
    assert isinstance(caught.value, MissingExifError)
    assert "no spectrogram parameters" in str(caught.value)


def test_fields_that_upstream_does_not_record_take_their_defaults() -> None:
    tags = SpectrogramParams(stereo=True, max_frequency=20_000).to_exif()
    upstreams = {tag: value for tag, value in tags.items() if tag <= ExifTags.MAX_VALUE.value}
    assert SpectrogramParams.from_exif(upstreams) == SpectrogramParams(
        stereo=True, max_frequency=20_000
    )


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "loud", b"\x00", None])
def test_unusable_maximum_counts_as_none(value: object) -> None:
    assert SpectrogramParams.max_value_from_exif({ExifTags.MAX_VALUE.value: value}) is None
    assert SpectrogramParams.max_value_from_exif({}) is None


def test_parameters_that_would_fill_the_memory_are_refused() -> None:
    with pytest.raises(SpectrogramParamsError, match="filterbank"):
        SpectrogramParams(sample_rate=384_000, window_duration_ms=10_000, padded_duration_ms=10_000)


def test_default_lengths_in_samples_are_upstreams() -> None:
    params = SpectrogramParams()
    assert (params.n_fft, params.win_length, params.hop_length) == (17640, 4410, 441)


@given(params=spectrogram_params(), num_frames=st.integers(1, 10_000))
def test_num_frames_inverts_num_samples(params: SpectrogramParams, num_frames: int) -> None:
    num_samples = params.num_samples(num_frames)
    assert params.num_frames(num_samples) == num_frames
    assert params.num_frames(num_samples + 1) == num_frames + 1


def test_512_frames_are_5_12_seconds() -> None:
    params = SpectrogramParams()
    assert params.num_samples(512) / params.sample_rate == 5.12


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample_rate", 0),
        ("sample_rate", 44100.5),
        ("sample_rate", "fast"),
        ("sample_rate", float("nan")),
        ("sample_rate", True),
        ("step_size_ms", 0),
        ("step_size_ms", 100),
        ("window_duration_ms", 401),
        ("padded_duration_ms", 99),
        ("num_frequencies", 0),
        ("num_frequencies", 10_000_000),
        ("min_frequency", 10_000),
        ("min_frequency", -1),
        ("max_frequency", 0),
        ("mel_scale_norm", "loud"),
        ("mel_scale_type", "bark"),
        ("power_for_image", 0),
        ("power_for_image", float("inf")),
        ("num_griffin_lim_iters", -1),
        ("num_griffin_lim_iters", 10_000),
        ("stereo", "no"),
    ],
)
def test_bad_value_is_named(field: str, value: object) -> None:
    with pytest.raises(SpectrogramParamsError, match=f"{field}="):
        dataclasses.replace(SpectrogramParams(), **{field: value})


def test_saved_parameters_load_again(tmp_path) -> None:  # type: ignore[no-untyped-def]
    params = SpectrogramParams(stereo=True, mel_scale_norm="slaney", power_for_image=1 / 3)
    params.save(tmp_path)
    assert SpectrogramParams.load(tmp_path) == params


def test_checkpoint_without_parameters_has_the_defaults(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert SpectrogramParams.load(tmp_path) == SpectrogramParams()


@pytest.mark.parametrize("text", ["{", "[1]", '{"sample_rat": 44100}', '{"sample_rate": null}'])
def test_broken_parameter_file_is_named(tmp_path, text: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "spectrogram_params.json").write_text(text)
    with pytest.raises(SpectrogramParamsError):
        SpectrogramParams.load(tmp_path)
