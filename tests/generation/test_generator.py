"""Requests to clips with the embedded checkpoint, on a CPU, in few steps."""

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.audio import decode_audio, encode_audio, num_samples, segment_from_waveform
from riffusion.datatypes import InferenceInput
from riffusion.errors import GenerationCancelled, InputError
from riffusion.generation.generator import Clip, ClipGenerator
from riffusion.generation.media import Media
from riffusion.generation.response import output_from_clip
from riffusion.io.data_urls import bytes_from_data_url, data_url
from riffusion.io.images import decode_image, encode_image
from riffusion.spectrogram.image import DEFAULT_MAX_VALUE
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams
from tests.runtime import emulated_graphs

STEPS = 2


@pytest.fixture(scope="module")
def generator() -> ClipGenerator:
    return ClipGenerator.load("data/demo-checkpoint", device="cpu")


def generate(generator: ClipGenerator, **changes: Any) -> Clip:
    return generator.generate(generator.resolve(request(**changes)))


def request(**changes: Any) -> InferenceInput:
    values = {"start": {"prompt": "piano", "seed": 1}, "num_inference_steps": STEPS} | changes
    return InferenceInput.parse(values)


def image_text(width: int = 64, height: int = 512) -> str:
    return data_url(encode_image(Image.effect_noise((width, height), 60), "png"), "image/png")


def audio_text(duration_s: float = 1.0, rate: int = 48_000) -> str:
    time_s = np.arange(round(duration_s * rate)) / rate
    waveform = (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)[None]
    return base64.b64encode(encode_audio(segment_from_waveform(waveform, rate), "flac")).decode()


def test_a_clip_is_5_12_seconds_and_its_image_has_the_parameters(
    generator: ClipGenerator,
) -> None:
    clip = generate(generator)
    assert clip.image.size == (512, 512)
    assert clip.audio.num_samples == 512 * 441
    assert np.abs(clip.audio.waveform).max() > 0.03
    assert SpectrogramParams.from_exif(clip.image.getexif()) == SpectrogramParams()
    assert set(clip.timings_s) == {"waiting", "prepare", "diffusion", "decode", "audio"}


@pytest.mark.parametrize(
    ("changes", "frames"),
    [
        ({"mode": "txt2img"}, 512),
        ({"mode": "txt2img", "duration_s": 1.0}, 100),
        ({"mode": "txt2img", "duration_s": 0.004}, 1),
        ({"mode": "image_to_audio"}, 512),
        ({"seed_image_id": "vibes", "mask_image_id": "mask_top_third_75"}, 512),
        ({"init_image": image_text(64)}, 64),
        ({"init_image": image_text(64, 256)}, 64),
        ({"init_audio": audio_text(1.0)}, 100),
        ({"init_image": image_text(), "mask_image": image_text(8, 8)}, 64),
        ({"mode": "image_to_audio", "init_image": image_text(30)}, 30),
        ({"mode": "image_to_audio", "init_audio": audio_text(0.5)}, 50),
    ],
)
def test_length_of_each_mode(generator: ClipGenerator, changes: Any, frames: int) -> None:
    clip = generate(generator, **changes)
    assert clip.image.width == frames
    assert clip.audio.num_samples == frames * 441


def test_drawn_clips_repeat_without_a_click_and_given_images_are_heard_as_they_are(
    generator: ClipGenerator,
) -> None:
    drawn = generate(generator, mode="txt2img", duration_s=0.64)
    heard = generate(generator, mode="image_to_audio", init_image=image_text(64))
    converter = SpectrogramImageConverter(SpectrogramParams())
    for clip, is_loop in ((drawn, True), (heard, False)):
        loop, alone = (
            converter.waveform_from_spectrogram_image(clip.image, circular=circular)
            for circular in (True, False)
        )
        assert not np.array_equal(loop, alone)
        assert np.array_equal(clip.audio.waveform, loop if is_loop else alone)


def test_an_image_is_converted_with_its_own_parameters(generator: ClipGenerator) -> None:
    params = SpectrogramParams(stereo=True, sample_rate=22_050, num_frequencies=128)
    image = Image.effect_noise((20, 128), 60).convert("RGB")
    image.getexif().update(params.to_exif())
    text = data_url(encode_image(image, "png"), "image/png")
    clip = generate(generator, mode="image_to_audio", init_image=text)
    assert (clip.audio.sample_rate, clip.audio.num_channels) == (22_050, 2)
    assert clip.params == params


@pytest.mark.parametrize(
    ("audio_format", "rate"), [("mp3", 44_100), ("wav", 44_100), ("flac", 44_100), ("ogg", 48_000)]
)
@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_the_response_holds_the_clip(
    generator: ClipGenerator, audio_format: str, rate: int, image_format: str
) -> None:
    inputs = request(
        mode="txt2img", duration_s=0.64, audio_format=audio_format, image_format=image_format
    )
    output = output_from_clip(generator.generate(generator.resolve(inputs)), inputs)
    assert output.duration_s == 0.64
    segment = decode_audio(bytes_from_data_url(output.audio, "audio"))
    assert num_samples(segment) == round(0.64 * rate)
    image = decode_image(bytes_from_data_url(output.image, "image"))
    assert image.format == image_format.upper()
    assert SpectrogramParams.from_exif(image.getexif()) == SpectrogramParams()


@pytest.mark.parametrize(
    ("fields", "steps", "rows"),
    [({}, 50, 2), ({"preset": "fast"}, 10, 2), ({"preset": "instant"}, 4, 1)],
)
def test_only_instant_is_sampled_without_guidance_rows(
    generator: ClipGenerator, fields: dict[str, Any], steps: int, rows: int
) -> None:
    inputs = InferenceInput.parse(
        {"start": {"prompt": "piano", "seed": 1}, "mode": "txt2img"} | fields
    )
    job = generator.pipeline.prepare(generator.resolve(inputs).inputs)
    assert (job.num_steps, job.num_rows) == (steps, rows)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"scheduler": "lcm"}, "num_inference_steps"),  # 50 by default
        ({"preset": "instant", "num_inference_steps": 9}, "num_inference_steps"),
        (
            {"preset": "instant", "start": {"prompt": "x", "seed": 1, "guidance": 9.5}},
            "start.guidance",
        ),
    ],
)
def test_distilled_sampling_is_refused_beyond_what_was_distilled(
    generator: ClipGenerator, fields: dict[str, Any], field: str
) -> None:
    inputs = InferenceInput.parse(
        {"start": {"prompt": "piano", "seed": 1}, "mode": "txt2img"} | fields
    )
    with pytest.raises(InputError, match=f"^{field}: "):
        generator.resolve(inputs)


def test_the_same_request_gives_the_same_bytes(generator: ClipGenerator) -> None:
    inputs = request(alpha=0.5, end={"prompt": "organ", "seed": 9})
    outputs = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        clip = generator.generate(generator.resolve(inputs))
        outputs.append(output_from_clip(clip, inputs))
    assert outputs[0] == outputs[1]


def test_different_prompts_give_different_images(generator: ClipGenerator) -> None:
    arguments = {"mode": "txt2img", "num_inference_steps": 4}
    piano = generate(generator, **arguments)
    techno = generate(generator, **arguments, start={"prompt": "techno beat", "seed": 1})
    difference = np.asarray(piano.image).astype(int) - np.asarray(techno.image)
    assert np.abs(difference).mean() > 10


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed_image_id": "unknown"}, "seed_image_id"),
        ({"seed_image_id": "../../etc/passwd"}, "seed_image_id"),
        ({"mask_image_id": "og_beat"}, "mask_image_id"),
        ({"init_image": "not base64!"}, "init_image"),
        ({"init_image": audio_text(0.1)}, "init_image"),
        ({"init_audio": image_text()}, "init_audio"),
        ({"init_audio": base64.b64encode(b"x" * 100).decode()}, "init_audio"),
        ({"init_audio": audio_text(61, 8000)}, "init_audio"),
        ({"mask_image": "AAAA"}, "mask_image"),
        ({"start": {"prompt": "(loud:1e3)(a:1000)", "seed": 1}}, "start.prompt"),
        (
            {"start": {"prompt": "x", "negative_prompt": "(a:1000)", "seed": 1}},
            "start.negative_prompt",
        ),
        ({"end": {"prompt": "(a:999)", "seed": 1}}, "end.prompt"),
    ],
)
def test_bad_media_and_ids_are_refused_before_the_model_runs(
    generator: ClipGenerator, changes: Any, field: str
) -> None:
    with pytest.raises(InputError, match=f"^{field}: ") as caught:
        generator.resolve(request(**changes))
    assert str(caught.value).count(field) == 1


def test_decoded_media_take_the_place_of_the_requests_fields(generator: ClipGenerator) -> None:
    image, mask, audio = image_text(64), image_text(8, 8), audio_text(0.5)
    decoded_mask = decode_image(bytes_from_data_url(mask, "mask_image"))
    for changes, media in (
        (
            {"init_image": image},
            Media(init_image=decode_image(bytes_from_data_url(image, "init_image"))),
        ),
        (
            {"init_audio": audio},
            Media(init_audio=decode_audio(bytes_from_data_url(audio, "init_audio"))),
        ),
    ):
        sent = generator.resolve(request(mask_image=mask, **changes))
        given = generator.resolve(request(), replace(media, mask_image=decoded_mask))
        for name in ("init_image", "mask_image"):
            expected, actual = getattr(sent, name), getattr(given, name)
            assert np.array_equal(np.asarray(actual), np.asarray(expected)), name
        assert given.init_duration_s == sent.init_duration_s
    assert generator.resolve(request(mode="txt2img")).init_duration_s is None


def test_image_with_impossible_parameters_is_refused(generator: ClipGenerator) -> None:
    image = Image.new("RGB", (8, 8))
    image.getexif().update(SpectrogramParams().to_exif() | {11000: 0})
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=image.getexif())
    text = base64.b64encode(buffer.getvalue()).decode()
    with pytest.raises(InputError, match="^init_image: .*sample_rate=0"):
        generator.resolve(request(mode="image_to_audio", init_image=text))


@pytest.mark.parametrize(
    ("params", "width"),
    [
        (
            SpectrogramParams(step_size_ms=1000, window_duration_ms=1001, padded_duration_ms=1001),
            61,
        ),
        (
            SpectrogramParams(
                num_frequencies=8, window_duration_ms=10_000, padded_duration_ms=10_000
            ),
            300,
        ),
    ],
    ids=["too long", "too large"],
)
def test_image_whose_parameters_ask_for_too_much_is_refused(
    generator: ClipGenerator, params: SpectrogramParams, width: int
) -> None:
    image = Image.new("RGB", (width, 8))
    image.getexif().update(params.to_exif())
    text = data_url(encode_image(image, "png"), "image/png")
    with pytest.raises(InputError, match="^init_image: "):
        generator.resolve(request(mode="image_to_audio", init_image=text))


def test_an_invalid_maximum_in_the_exif_is_ignored(generator: ClipGenerator) -> None:
    image = Image.effect_noise((8, 512), 60).convert("RGB")
    image.getexif().update(SpectrogramParams().to_exif() | {11080: float("nan")})
    text = data_url(encode_image(image, "png"), "image/png")
    assert generate(generator, mode="image_to_audio", init_image=text).audio.waveform.any()


def test_stopping_takes_effect_at_the_next_step(generator: ClipGenerator) -> None:
    seen: list[tuple[int, int]] = []
    resolved = generator.resolve(request(num_inference_steps=50, mode="txt2img"))
    with pytest.raises(GenerationCancelled):
        generator.generate(
            resolved,
            on_progress=lambda done, total: seen.append((done, total)),
            should_stop=lambda: len(seen) >= 2,
        )
    assert seen == [(1, 50), (2, 50)]


@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("with_exif", [False, True])
def test_the_answer_to_image_to_audio_holds_its_parameters(
    generator: ClipGenerator, format: str, with_exif: bool
) -> None:
    image = Image.new("RGB", (30, generator.pipeline.spectrogram_params.num_frequencies), "gray")
    params = replace(generator.pipeline.spectrogram_params, step_size_ms=20 if with_exif else 10)
    exif = image.getexif()
    if with_exif:
        exif.update(params.to_exif(max_value=1e6))
    text = data_url(encode_image(image, "png"), "image/png")
    values = request(mode="image_to_audio", init_image=text, image_format=format)
    clip = generator.generate(generator.resolve(values))
    answer = output_from_clip(clip, values)
    answered = decode_image(bytes_from_data_url(answer.image, "image")).getexif()
    assert SpectrogramParams.from_exif(answered) == params == clip.params
    assert params.max_value_from_exif(answered) == (1e6 if with_exif else DEFAULT_MAX_VALUE)


def test_on_cuda_audio_has_a_stream_that_goes_first(
    generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulated_graphs.install(monkeypatch)
    monkeypatch.setattr(emulated_graphs.Stream, "priorities", [])
    monkeypatch.setattr(type(generator.pipeline), "device", torch.device("cuda"))
    ClipGenerator(generator.pipeline, generator.library)
    assert emulated_graphs.Stream.priorities == [-1]
