"""Clips without text. diffusers' own pipelines, where they do the same, are the oracle."""

import functools
import json
import shutil
from collections.abc import Callable
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
from PIL import Image

from riffusion.audio import Audio
from riffusion.audio.compiled_librosa import load_librosa
from riffusion.checkpoint.unconditional import UnconditionalCheckpoint
from riffusion.diffusion.interpolation import slerp
from riffusion.diffusion.torch_random import generator_from_seed
from riffusion.errors import CheckpointError, InputError
from riffusion.generation.unconditional import UnconditionalClip, UnconditionalGenerator
from riffusion.generation.unconditional_images import grey_difference
from riffusion.generation.unconditional_request import UnconditionalRequest
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import change_json
from tests.generation.unconditional_checkpoints import (
    CLIP_SAMPLES,
    ENCODING_WIDTH,
    HEIGHT,
    MEL,
    TOKENS,
    WIDTH,
    chirp,
    write_checkpoint,
)

OTHER_ROUNDING = 1
"""Grey levels by which a pixel may differ where sums are rounded in another order."""
COMES_BACK = 5
"""Mean grey levels between a clip and what comes back from its noise in 4 steps; from another noise
it is about 100."""
Folders = Callable[..., Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Checkpoints by their options, each written once."""
    written: dict[str, Path] = {}

    def folder(**options: Any) -> Path:
        key = str(sorted(options.items(), key=str))
        if key not in written:
            place = tmp_path_factory.mktemp("checkpoint") / "folder"
            written[key] = write_checkpoint(place, **options)
        return written[key]

    return folder


@functools.cache
def opened(folder: Path, at_once: int | None = None) -> UnconditionalGenerator:
    return UnconditionalGenerator(UnconditionalCheckpoint.read(str(folder)), "cpu", at_once)


def made(
    folder: Path, source: Audio | None = None, at_once: int | None = None, **request: Any
) -> list[UnconditionalClip]:
    request = {"steps": 3, **request}
    return list(opened(folder, at_once).generate(UnconditionalRequest(**request), source))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


def difference(image: Image.Image, other: Image.Image) -> int:
    assert image.size == other.size
    return int(np.abs(pixels(image) - pixels(other)).max())


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


def _no_weights(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()


def _other_vae(folder: Path) -> None:
    change_json(folder / "model_index.json", vqvae=["diffusers", "AsymmetricAutoencoderKL"])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "has no model_index.json; name"),
    "index": (lambda f: (f / "model_index.json").write_text("{"), "cannot be read as JSON"),
    "no mel": (lambda f: (f / "mel/mel_config.json").unlink(), "mel_config.json cannot be read"),
    "mel": (lambda f: (f / "mel/mel_config.json").write_text("[1]"), "must be a JSON object"),
    "mel's text": (lambda f: (f / "mel/mel_config.json").write_text("{"), "is not JSON"),
    "mel's class": (
        lambda f: change_json(f / "mel/mel_config.json", _class_name="Bark"),
        "_class_name='Bark' must be Mel",
    ),
    "mel's number": (
        lambda f: change_json(f / "mel/mel_config.json", n_fft="2048"),
        "n_fft='2048' must be a whole number",
    ),
    "mel's range": (
        lambda f: change_json(f / "mel/mel_config.json", sample_rate=0),
        "sample_rate=0 must be from 1000",
    ),
    "mel's hop": (
        lambda f: change_json(f / "mel/mel_config.json", hop_length=1024),
        "hop_length=1024 must be below n_fft=1024",
    ),
    "mel's size": (
        lambda f: change_json(f / "mel/mel_config.json", x_res=32),
        "16 × 64 must be 16 × 32 as in mel/mel_config.json",
    ),
    "no size": (
        lambda f: change_json(f / "unet/config.json", sample_size=None),
        "sample_size=None",
    ),
    "channels": (
        lambda f: change_json(f / "unet/config.json", out_channels=2),
        "1 channels in and",
    ),
    "scheduler": (
        lambda f: change_json(f / "model_index.json", scheduler=["diffusers", "PNDMScheduler"]),
        "scheduler=PNDMScheduler must be DDPMScheduler or DDIMScheduler",
    ),
    "no unet": (lambda f: change_json(f / "model_index.json", unet=[None, None]), "unet=None must"),
    "VAE": (_other_vae, "vqvae=AsymmetricAutoencoderKL must be AutoencoderKL or"),
    "text": (
        lambda f: change_json(f / "model_index.json", text_encoder=["transformers", "CLIP"]),
        "has a text encoder; use `riffusion generate`",
    ),
    "no weights": (_no_weights, "has no weights in unet/"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(
    folders: Folders, tmp_path: Path, damage: str
) -> None:
    folder = shutil.copytree(folders(), tmp_path / "copy")
    spoil, message = DAMAGE[damage]
    spoil(folder)
    with pytest.raises(CheckpointError) as refusal:
        made(folder)
    assert message in str(refusal.value)
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_without_a_spectrogram_there_is_no_audio(tmp_path: Path) -> None:
    """audio-diffusion's first checkpoints are plain pipelines of diffusers, without `mel`."""
    folder = write_checkpoint(tmp_path / "folder")
    shutil.rmtree(folder / "mel")
    index = json.loads((folder / "model_index.json").read_text())
    del index["mel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="has neither mel/mel_config.json nor"):
        UnconditionalCheckpoint.read(str(folder))
    (folder / "mel").mkdir()
    (folder / "mel/mel_config.json").write_text(json.dumps({**MEL, "n_iter": 8}))
    assert len(made(folder)) == 1


def test_the_index_names_the_scheduler_as_for_diffusers(folders: Folders, tmp_path: Path) -> None:
    folder = shutil.copytree(folders(), tmp_path / "copy")
    DDPMScheduler().save_pretrained(folder / "scheduler")
    assert UnconditionalCheckpoint.read(str(folder)).scheduler_name == "ddim"
    change_json(folder / "model_index.json", scheduler=["diffusers", "DDPMScheduler"])
    assert UnconditionalCheckpoint.read(str(folder)).scheduler_name == "ddpm"
