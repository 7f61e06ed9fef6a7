"""Clips without text. diffusers' own pipelines, where they do the same, are the oracle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AudioDiffusionPipeline,
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMScheduler,
    LDMPipeline,
    UNet2DModel,
    VQModel,
)

from riffusion.audio.compiled_librosa import load_librosa
from riffusion.checkpoint.unconditional import UnconditionalCheckpoint
from riffusion.diffusion.torch_random import generator_from_seed
from riffusion.errors import InputError
from riffusion.generation.unconditional import UnconditionalGenerator
from riffusion.generation.unconditional_request import UnconditionalRequest
from riffusion.spectrogram.params import SpectrogramParams
from tests.generation.unconditional_checkpoints import (
    CLIP_SAMPLES,
    ENCODING_WIDTH,
    HEIGHT,
    MEL,
    TOKENS,
    WIDTH,
    chirp,
)
from tests.generation.unconditional_clips import (
    OTHER_ROUNDING,
    Folders,
    difference,
    made,
    opened,
    pixels,
)


@pytest.mark.parametrize("vqvae", [None, AutoencoderKL])
def test_clips_are_those_of_diffusers_pipeline(
    folders: Folders, vqvae: type[AutoencoderKL] | None
) -> None:
    load_librosa()
    folder = folders(vqvae=vqvae)
    pipeline = AudioDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    shape = (1, 1, *pipeline.unet.config.sample_size)
    noise = torch.randn(shape, generator=generator_from_seed(7))
    expected = pipeline(noise=noise, steps=3).images[0]
    (clip,) = made(folder, seed=7)
    assert clip.image.size == (WIDTH, HEIGHT)
    assert difference(clip.image, expected) <= OTHER_ROUNDING
    assert len(np.unique(pixels(clip.image))) > 20  # an image, not a constant
    assert clip.audio.num_samples == CLIP_SAMPLES
    assert clip.audio.sample_rate == MEL["sample_rate"]


@pytest.mark.parametrize("vqvae", [None, AutoencoderKL, VQModel])
def test_folders_of_2022_give_the_same_clips(folders: Folders, vqvae: type[Any] | None) -> None:
    today, old = (made(folders(vqvae=vqvae, is_old=is_old), seed=3) for is_old in (False, True))
    assert difference(today[0].image, old[0].image) <= OTHER_ROUNDING


@pytest.mark.parametrize("scheduler", [DDIMScheduler, DDPMScheduler])
def test_a_clip_depends_on_its_own_seed_only(folders: Folders, scheduler: type[Any]) -> None:
    folder = folders(scheduler=scheduler)
    several = made(folder, seed=5, count=3)
    assert [clip.seed for clip in several] == [5, 6, 7]
    (alone,) = made(folder, seed=6)
    assert np.array_equal(alone.audio.waveform, several[1].audio.waveform)
    assert difference(several[0].image, several[1].image) > 20
    for clip, other in zip(several, made(folder, at_once=2, seed=5, count=3), strict=True):
        assert difference(clip.image, other.image) <= OTHER_ROUNDING


def test_eta_adds_noise_to_ddim_and_ddpm_can_be_sampled_by_ddim(folders: Folders) -> None:
    plain, noisy = (made(folders(), eta=eta)[0] for eta in (0.0, 1.0))
    assert difference(plain.image, noisy.image) > 20
    by_ddim = made(folders(scheduler=DDPMScheduler), scheduler="ddim", eta=1.0)[0]
    assert difference(noisy.image, by_ddim.image) == 0
    checkpoint = UnconditionalCheckpoint.read(str(folders(scheduler=DDPMScheduler)))
    with pytest.raises(InputError, match=r"eta: 0\.5 needs DDIM, and DDPM is the scheduler"):
        UnconditionalGenerator(checkpoint).generate(UnconditionalRequest(eta=0.5))


def test_conditional_checkpoints_follow_their_encodings(folders: Folders) -> None:
    generator = opened(folders(is_conditional=True))
    request = UnconditionalRequest(count=2, seed=1, steps=4)
    states = torch.randn(2, TOKENS, ENCODING_WIDTH, generator=generator_from_seed(0)) * 5
    both = list(generator.generate(request, encodings=states))
    (alone,) = generator.generate(UnconditionalRequest(seed=2, steps=4), encodings=states[1:])
    assert difference(alone.image, both[1].image) == 0
    shared = list(generator.generate(request, encodings=states[:1]))
    assert difference(shared[0].image, both[0].image) == 0
    assert difference(shared[1].image, both[1].image) > 0
    for wrong, message in [
        (None, rf"encoding: the checkpoint needs an encoding, \(1, tokens, {ENCODING_WIDTH}\)"),
        (states[..., 1:], r"encoding: shape \(2, 2, 7\) must be \(1 or 2, tokens, 8\)"),
        (states.repeat(2, 1, 1), r"encoding: shape \(4, 2, 8\) must be"),
    ]:
        with pytest.raises(InputError, match=message):
            generator.generate(request, encodings=wrong)
    with pytest.raises(InputError, match="takes no encodings"):
        opened(folders()).generate(request, encodings=states)


@pytest.mark.parametrize("colours", [1, 3, "latents"])
def test_own_checkpoints_play_as_stock_pipelines_generate(
    tmp_path: Path, colours: int | str
) -> None:
    """Folders as `riffusion train` writes them, with amplitudes in place of decibels."""
    channels = 1 if colours == "latents" else colours
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=16,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("DownBlock2D",) * 2,
            up_block_types=("UpBlock2D",) * 2,
        )
        vae = AutoencoderKL(
            latent_channels=1,
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
        )
    scheduler = DDIMScheduler()
    pipeline = (
        LDMPipeline(vqvae=vae, unet=unet, scheduler=scheduler)
        if colours == "latents"
        else DDIMPipeline(unet=unet, scheduler=scheduler)
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(tmp_path)
    side = 32 if colours == "latents" else 16
    params = SpectrogramParams(num_frequencies=side, stereo=colours == 3)
    params.save(tmp_path)
    generators = [generator_from_seed(seed) for seed in (4, 5)]
    expected = pipeline(batch_size=2, generator=generators, num_inference_steps=3).images
    clips = made(tmp_path, seed=4, count=2)
    for clip, image in zip(clips, expected, strict=True):
        assert difference(clip.image, image.convert("RGB")) <= OTHER_ROUNDING
        assert clip.audio.num_samples == params.num_samples(side)
        assert clip.audio.num_channels == (2 if params.stereo else 1)
        assert SpectrogramParams.from_exif(clip.image.getexif()) == params
    masked = made(tmp_path, chirp(44100, 44100), mask_start_s=0.085)[0].image
    own = opened(tmp_path).image_of(chirp(44100, 44100))
    assert np.array_equal(pixels(masked)[:, :8], pixels(own)[:, :8])
