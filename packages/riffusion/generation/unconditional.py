"""Clips without text, from audio-diffusion's checkpoints and from those that `train` writes.

generator = UnconditionalGenerator.open("teticio/audio-diffusion-ddim-256")
for clip in generator.generate(UnconditionalRequest(count=8, seed=1)):
    write_audio(clip.audio, f"{clip.seed}.wav")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from PIL import Image

from riffusion.audio import Audio
from riffusion.checkpoint.source import CheckpointSource
from riffusion.checkpoint.unconditional import UnconditionalCheckpoint
from riffusion.diffusion.interpolation import slerp
from riffusion.diffusion.unconditional import Start, UnconditionalSampler
from riffusion.errors import InputError
from riffusion.generation.unconditional_images import ClipImages
from riffusion.generation.unconditional_request import (
    MAX_COUNT,
    UnconditionalPlan,
    UnconditionalRequest,
    plan_request,
    plan_steps,
)
from riffusion.runtime.devices import select_device

_CLIPS_AT_ONCE = {"cpu": 1, "cuda": 8}
"""Clips that are denoised together. On a CPU more gain nothing and round differently."""

_WARM_UP_STEPS = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class UnconditionalClip:
    """A finished clip.

    Args:
        image: its spectrogram image: grey and in decibels for audio-diffusion's checkpoints, else
            RGB with the parameters in its EXIF.
        audio: its audio, at the common loudness.
        seed: the seed that gives this clip; None for a clip from a given noise.
    """

    image: Image.Image
    audio: Audio
    seed: int | None = None


class UnconditionalGenerator:
    """Makes clips with one checkpoint, whose weights are loaded when they are first needed.

    Args:
        checkpoint: the checkpoint without its weights.
        device: None for the fastest device available.
        clips_at_once: clips that are denoised together; by default 1 on a CPU and 8 on a GPU.
    """

    def __init__(
        self,
        checkpoint: UnconditionalCheckpoint,
        device: str | None = None,
        clips_at_once: int | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = select_device(device)
        self._at_once = clips_at_once or _CLIPS_AT_ONCE.get(self.device.type, 1)
        self.images = ClipImages(checkpoint.spectrogram, checkpoint.size[1], self.device)

    @classmethod
    def open(cls, checkpoint: str | CheckpointSource, device: str | None = None) -> Self:
        """Read a checkpoint: a folder, or an id on the Hugging Face hub.

        Raises:
            CheckpointError: see `UnconditionalCheckpoint.read`.
            InputError: the device is unknown.
        """
        return cls(UnconditionalCheckpoint.read(checkpoint), device)

    @cached_property
    def sampler(self) -> UnconditionalSampler:
        """The loaded networks.

        Raises:
            CheckpointError: see `UnconditionalCheckpoint.load`.
        """
        return UnconditionalSampler(self.checkpoint.load(self.device))

    def warm_up(self) -> None:
        """Load the weights and make a clip, which shows whether the device works.

        Raises:
            CheckpointError: see `UnconditionalCheckpoint.load`.
            InputError: the checkpoint needs encodings.
        """
        for _ in self.generate(UnconditionalRequest(steps=_WARM_UP_STEPS)):
            pass

    def generate(
        self,
        request: UnconditionalRequest,
        source: Audio | None = None,
        encodings: torch.Tensor | None = None,
        progress: Progress | None = None,
    ) -> Iterator[UnconditionalClip]:
        """Make clips, one after the other.

        Args:
            request: what to make.
            source: audio to start from, any sample rate, at least a clip long.
            encodings: (count or 1, tokens, width), for a conditional UNet.
            progress: called with the steps done and the steps of all clips.

        Raises:
            InputError: a value is out of range; at the call, before the weights are loaded.
        """
        plan = plan_request(request, self.checkpoint, has_source=source is not None)
        self._check_encodings(encodings, request.count)
        image = None if source is None else self.image_of(source, request.slice_index)
        return self._clips(plan, image, encodings, progress)

    def encode(
        self,
        audio: Audio,
        *,
        slice_index: int = 0,
        steps: int | None = None,
        encodings: torch.Tensor | None = None,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """The noise that `clip_from_noise` makes into this clip: DDIM inversion.

        Args:
            audio: at least a clip long.
            slice_index: which part of it, in units of a clip's length.
            steps: steps of DDIM; None for 50. `clip_from_noise` needs the same number.
            encodings: (1, tokens, width), for a conditional UNet.
            progress: called with the steps done and their number.

        Returns:
            (1, channels, height, width). Noises of two clips can be interpolated with `slerp`.
        """
        steps = plan_steps(steps, "ddim", self.checkpoint)
        self._check_encodings(encodings, 1)
        sample = self.sampler.encoded(
            self.images.pixels_from_image(
                self.image_of(audio, slice_index), self.sampler.num_colours
            )
        )
        return self.sampler.noise_from_sample(
            sample, steps=steps, encodings=encodings, progress=progress
        )

    def clip_from_noise(
        self,
        noise: torch.Tensor,
        *,
        steps: int | None = None,
        encodings: torch.Tensor | None = None,
        progress: Progress | None = None,
    ) -> UnconditionalClip:
        """The clip of a noise of `encode`, by DDIM without randomness."""
        steps = plan_steps(steps, "ddim", self.checkpoint)
        self._check_encodings(encodings, 1)
        sample = self.sampler.sample_from_noise(
            noise, steps=steps, encodings=encodings, progress=progress
        )
        return self._clip(self.sampler.decoded(sample)[0], None, None, None)

    def between(
        self,
        start: Audio,
        end: Audio,
        count: int,
        *,
        steps: int | None = None,
        encodings: torch.Tensor | None = None,
        progress: Progress | None = None,
    ) -> Iterator[UnconditionalClip]:
        """Clips on the way from one clip to another, both included, by slerp of their noises.

        Args:
            start, end: at least a clip long.
            count: number of clips, from 2 to 10,000.
            steps: steps of DDIM; None for 50.
            encodings: (1, tokens, width), for a conditional UNet.
            progress: called with the steps done and the steps of all clips.

        Raises:
            InputError: a value is out of range; at the call, before the weights are loaded.
        """
        if not 2 <= count <= MAX_COUNT:
            raise InputError(
                f"{count} must be from 2 to {MAX_COUNT}, as both ends are included", field="count"
            )
        total = plan_steps(steps, "ddim", self.checkpoint)
        self._check_encodings(encodings, 1)
        for field, audio in (("from", start), ("to", end)):
            self.images.image_of(audio, field=field)

        def moved(stage: int) -> Progress | None:
            if progress is None:
                return None
            return lambda done, _: progress(stage * total + done, (count + 2) * total)

        def clips() -> Iterator[UnconditionalClip]:
            first, last = (
                self.encode(audio, steps=total, encodings=encodings, progress=moved(stage))
                for stage, audio in enumerate((start, end))
            )
            for index in range(count):
                noise = slerp(index / (count - 1), first, last)
                yield self.clip_from_noise(
                    noise, steps=total, encodings=encodings, progress=moved(index + 2)
                )

        return clips()

    def image_of(self, audio: Audio, slice_index: int = 0) -> Image.Image:
        """Spectrogram image of a part of some audio; see `ClipImages.image_of`."""
        return self.images.image_of(audio, slice_index)

    def _clips(
        self,
        plan: UnconditionalPlan,
        source: Image.Image | None,
        encodings: torch.Tensor | None,
        progress: Progress | None,
    ) -> Iterator[UnconditionalClip]:
        sampler, start = self.sampler, None
        kept = np.zeros(self.checkpoint.size[1], bool)
        if source is not None:
            kept[: plan.kept_start] = True
            kept[len(kept) - plan.kept_end :] = True
            whole = kept.reshape(-1, sampler.factor).all(axis=1)
            clean = sampler.encoded(self.images.pixels_from_image(source, sampler.num_colours))
            start = Start(clean, plan.start_step, torch.from_numpy(whole))
        num_clips = len(plan.seeds)
        steps_per_clip = plan.steps - plan.start_step
        for first in range(0, num_clips, self._at_once):
            seeds = plan.seeds[first : first + self._at_once]
            drawn = [sampler.noise(seed) for seed in seeds]
            states = encodings
            if encodings is not None and len(encodings) > 1:
                states = encodings[first : first + len(seeds)]

            def moved(done: int, total: int, first: int = first, size: int = len(seeds)) -> None:
                if progress is not None:
                    progress(first * total + done * size, num_clips * steps_per_clip)

            sample = sampler.generate(
                torch.cat([noise for noise, _ in drawn]),
                [generator for _, generator in drawn],
                sampler=plan.scheduler,
                steps=plan.steps,
                eta=plan.eta,
                start=start,
                encodings=states,
                progress=moved,
            )
            for pixels, seed in zip(sampler.decoded(sample), seeds, strict=True):
                yield self._clip(pixels, seed, source, kept)

    def _clip(
        self,
        pixels: torch.Tensor,
        seed: int | None,
        source: Image.Image | None,
        kept: np.ndarray[tuple[int], np.dtype[np.bool_]] | None,
    ) -> UnconditionalClip:
        """The clip of pixels (colours, height, width); kept frames are the source's own pixels."""
        image = self.images.image_from_pixels(pixels)
        if source is not None and kept is not None:
            array = np.array(image.convert("RGB"))
            array[:, kept] = np.asarray(source.convert("RGB"))[:, kept]
            image = self.images.finished(Image.fromarray(array))
        waveform = self.images.waveform_from_image(image)
        return UnconditionalClip(image, Audio(waveform, self.images.sample_rate), seed)

    def _check_encodings(self, encodings: torch.Tensor | None, count: int) -> None:
        """Check the encodings of a request.

        Raises:
            InputError: they are missing, not needed, or have another shape.
        """
        config = self.checkpoint.unet_config
        if not self.checkpoint.is_conditional:
            if encodings is not None:
                raise InputError(
                    "the checkpoint takes no encodings; leave them out", field="encoding"
                )
            return
        width = config.get("cross_attention_dim")
        if encodings is None:
            raise InputError(
                f"the checkpoint needs an encoding, (1, tokens, {width}); name a file with it",
                field="encoding",
            )
        if encodings.ndim != 3 or encodings.shape[2] != width or len(encodings) not in (1, count):
            raise InputError(
                f"shape {tuple(encodings.shape)} must be (1 or {count}, tokens, {width})",
                field="encoding",
            )
