"""Clips without text that begin with audio: later starts, masks, and noise that gives it back."""

from typing import Any

import numpy as np
import pytest
from diffusers import AudioDiffusionPipeline, AutoencoderKL, DDIMScheduler, DDPMScheduler, VQModel

from riffusion.audio import Audio
from riffusion.diffusion.interpolation import slerp
from riffusion.errors import InputError
from riffusion.generation.unconditional_images import grey_difference
from tests.generation.unconditional_checkpoints import CLIP_SAMPLES, HEIGHT, MEL, WIDTH, chirp
from tests.generation.unconditional_clips import Folders, difference, made, opened, pixels

COMES_BACK = 5
"""Mean grey levels between a clip and what comes back from its noise in 4 steps; from another noise
it is about 100."""


@pytest.mark.parametrize("vqvae", [None, AutoencoderKL])
def test_later_starts_stay_closer_to_the_audio_for_every_clip(
    folders: Folders, vqvae: type[Any] | None
) -> None:
    folder = folders(vqvae=vqvae, scheduler=DDPMScheduler)
    generator, source = opened(folder), chirp()
    image = generator.image_of(source)
    through_vae = generator.images.image_from_pixels(
        generator.sampler.decoded(
            generator.sampler.encoded(generator.images.pixels_from_image(image, 1))
        )[0]
    )
    away = {
        start_step: [
            grey_difference(clip.image, through_vae)
            for clip in made(folder, source, steps=10, start_step=start_step, count=2)
        ]
        for start_step in (6, 8, 9)
    }
    for early, late, latest in zip(*away.values(), strict=True):
        assert early > late > latest
    assert max(away[9]) < 8


def test_a_start_at_step_0_keeps_nothing(folders: Folders) -> None:
    fresh, started = made(folders()), made(folders(), chirp(), start_step=0)
    assert difference(fresh[0].image, started[0].image) == 0
    by_default = made(folders(), chirp())
    assert difference(by_default[0].image, made(folders(), chirp(), start_step=1)[0].image) == 0


@pytest.mark.parametrize(
    ("vqvae", "scheduler", "start_step"),
    [
        (None, DDIMScheduler, None),
        (None, DDPMScheduler, 2),
        (AutoencoderKL, DDPMScheduler, None),
        (VQModel, DDIMScheduler, 2),
    ],
)
def test_masked_frames_are_the_audio_s_own(
    folders: Folders, vqvae: type[Any] | None, scheduler: type[Any], start_step: int | None
) -> None:
    folder, source = folders(vqvae=vqvae, scheduler=scheduler), chirp()
    frame_s = MEL["hop_length"] / MEL["sample_rate"]
    request = {"mask_start_s": 10.5 * frame_s, "mask_end_s": 7 * frame_s, "start_step": start_step}
    clips = made(folder, source, count=2, **request)
    own = pixels(opened(folder).image_of(source))
    for clip in clips:
        image = pixels(clip.image)
        assert np.array_equal(image[:, :10], own[:, :10])
        assert np.array_equal(image[:, -7:], own[:, -7:])
        assert not np.array_equal(image[:, 10:-7], own[:, 10:-7])
    assert difference(clips[0].image, clips[1].image) > 0


def test_what_is_kept_changes_what_is_made(folders: Folders) -> None:
    first, second = (
        made(folders(), chirp(seed=seed), mask_start_s=0.3)[0].image for seed in (0, 9)
    )
    assert not np.array_equal(pixels(first)[:, -20:], pixels(second)[:, -20:])


@pytest.mark.parametrize("vqvae", [None, AutoencoderKL])
def test_a_clip_comes_back_from_its_noise(folders: Folders, vqvae: type[Any] | None) -> None:
    generator = opened(folders(vqvae=vqvae, gain=0.01))
    recordings = chirp(seed=5), chirp()
    noises = [generator.encode(audio, steps=4) for audio in recordings]
    for audio, noise in zip(recordings, noises, strict=True):
        encoded = generator.sampler.encoded(
            generator.images.pixels_from_image(generator.image_of(audio), 1)
        )
        expected = generator.images.image_from_pixels(generator.sampler.decoded(encoded)[0])
        again = generator.clip_from_noise(noise, steps=4)
        assert grey_difference(again.image, expected) < COMES_BACK
    between = list(generator.between(*recordings, 3, steps=4))
    for index, alpha in enumerate((0, 0.5, 1)):
        expected_clip = generator.clip_from_noise(slerp(alpha, *noises), steps=4)
        assert difference(between[index].image, expected_clip.image) == 0
    ends = [grey_difference(between[1].image, between[end].image) for end in (0, 2)]
    assert min(ends) > 1


def test_ddim_inversion_is_that_of_diffusers_but_closer(folders: Folders) -> None:
    """diffusers' `encode` takes one prediction per step; several of them come back closer."""
    folder = folders(gain=0.03)
    generator, image = opened(folder), opened(folder).image_of(chirp())
    pipeline = AudioDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline.encode([image], steps=5)
    ours = generator.encode(chirp(), steps=5)
    away = [
        grey_difference(generator.clip_from_noise(noise, steps=5).image, image)
        for noise in (ours, theirs)
    ]
    assert away[0] < away[1] / 2 < 10


def test_slices_and_nearly_whole_clips(folders: Folders) -> None:
    generator = opened(folders())
    audio = chirp(2 * CLIP_SAMPLES)
    parts = [
        Audio(audio.waveform[:, begin : begin + CLIP_SAMPLES], audio.sample_rate)
        for begin in (0, CLIP_SAMPLES)
    ]
    for index, part in enumerate(parts):
        assert difference(generator.image_of(audio, index), generator.image_of(part)) == 0
    one_frame_short = Audio(parts[0].waveform[:, : -MEL["hop_length"]], audio.sample_rate)
    assert generator.image_of(one_frame_short).size == (WIDTH, HEIGHT)
    at_another_rate = chirp(2 * CLIP_SAMPLES, 44100)
    stereo = Audio(np.repeat(at_another_rate.waveform, 2, axis=0), 44100)
    assert generator.image_of(stereo).size == (WIDTH, HEIGHT)
    short = Audio(parts[0].waveform[:, : -MEL["hop_length"] - 1], audio.sample_rate)
    for wrong, index, message in [
        (short, 0, r"from: the audio of 0\.73 s is shorter than a clip of 0\.74 s"),
        (audio, 2, r"slice: 2 must be from 0 to 1"),
        (audio, -1, r"slice: -1 must be from 0 to 1"),
    ]:
        with pytest.raises(InputError, match=message):
            generator.image_of(wrong, index)
