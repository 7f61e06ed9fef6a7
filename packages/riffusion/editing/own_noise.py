"""Clips ⇄ their own noise: DDIM inversion of whole recordings, and the way back to sound.

    recording ─▶ latents ─▶ own noise ─▶ … ─▶ latents ─▶ sound

Noise that is a little different gives a clip that is a little different; noise between that of two
clips gives a clip between them. How close the way there and back comes to the recording is known
from its latents and its image; see `Closeness`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.arrays import Array, as_numpy
from riffusion.diffusion.canvas import CanvasPlan, CanvasWay, PromptAt
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.canvas_images import CanvasImages
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.rendering import rendered
from riffusion.editing.sound import Sound
from riffusion.editing.surroundings import Section, extent, level_of_black
from riffusion.engine.request import CanvasRequest
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator

FloatArray = npt.NDArray[np.float32]

MIN_SOLVER_STEPS, MAX_SOLVER_STEPS = 5, 150
"""Steps of DDIM; with fewer, a clip doesn't come back from its noise."""
_FAR = 1e9
"""Columns of latents: so far away that all windows are at the same place between two prompts."""
_FRAMES_AT_ONCE = 1024
_GREY_LEVELS = 255


@dataclass(frozen=True)
class Closeness:
    """How close a clip comes back from its own noise.

    Args:
        image_error: mean difference between the spectrogram images of the recording and of what
            came back, in grey levels of 255.
        autoencoder_error: the same for the autoencoder alone, which every edit passes through.
        latents_db: level of the latents relative to their error, in dB.
    """

    image_error: float
    autoencoder_error: float
    latents_db: float

    def __str__(self) -> str:
        return (
            f"within {self.image_error:.2f} of 255 grey levels, {self.autoencoder_error:.2f} of "
            f"them the autoencoder's own; latents to {self.latents_db:.1f} dB"
        )


@dataclass(frozen=True, eq=False)
class NoiseWay:
    """Latents that become noise, or noise that becomes latents, conditioned on prompts.

    Args:
        latents: (1, channels, height, columns).
        way: which of the two.
        start, end: two prompts.
        share: position between them, from 0 to 1.
    """

    latents: Array
    way: CanvasWay
    start: str
    end: str
    share: float = 0.0

    def plan(self) -> CanvasPlan:
        """The same for the engine."""
        if self.share in (0, 1):
            prompts = [PromptAt(0, self.end if self.share else self.start)]
        else:
            first = -self.share * _FAR
            prompts = [PromptAt(first, self.start), PromptAt(first + _FAR, self.end)]
        return CanvasPlan(self.latents, prompts, way=self.way)


class WholeClip:
    """The first frames of a recording, as latents.

    Args:
        recording: the recording.
        generator: its checkpoint has the autoencoder.
        num_frames: number of frames, at most the recording's.

    Attributes:
        latents: (1, channels, height, columns) float32 in NumPy.
        level: amplitude of black in each of their frames.
    """

    def __init__(self, recording: Sound, generator: ClipGenerator, num_frames: int) -> None:
        self.axis = ModelAxis(recording, generator.converter)
        self._images = CanvasImages(generator)
        self._num_frames = num_frames
        whole = Section(0, num_frames, continues_before=False, continues_after=False)
        num_columns = extent(self.axis, self._images, whole).num_columns
        end = self._images.frames_per_column * num_columns
        self.level = level_of_black(self.axis, whole, 0, end)
        amplitudes = self.axis.amplitudes
        self.latents = as_numpy(self._images.latents(amplitudes, 0, num_columns, self.level))

    def sound(self, latents: Array, level: FloatArray, num_samples: int) -> Iterator[Waveform]:
        """Sound of other latents of the same shape, computed as it is consumed.

        Args:
            latents: the latents.
            level: amplitude of black in each of their frames.
            num_samples: wanted samples at the recording's rate.

        Yields:
            (1, samples) each; all together have `num_samples`.
        """

        def target(first: int, num_frames: int) -> FloatArray:
            return self._images.frames(latents, first, first + num_frames, level)

        made = rendered(
            self.axis, target, 0, self._num_frames, continues_before=False, continues_after=False
        )
        return self.axis.at_recordings_rate(made, 0, 0, num_samples)

    def closeness(self, latents: Array) -> Closeness:
        """How close latents that came back from the clip's noise are to the clip."""
        error = float(np.linalg.norm(latents - self.latents))
        level = float(np.linalg.norm(self.latents))
        level_db = 20 * math.log10(level / error) if error else math.inf
        return Closeness(self._image_error(latents), self._image_error(self.latents), level_db)

    def _image_error(self, latents: Array) -> float:
        total = 0.0
        for first in range(0, self._num_frames, _FRAMES_AT_ONCE):
            last = min(first + _FRAMES_AT_ONCE, self._num_frames)
            own = self._grey(self.axis.amplitudes(first, last - first), first, last)
            found = self._images.frames(latents, first, last, self.level)
            total += float(np.abs(self._grey(found, first, last) - own).mean(0).sum())
        return total / self._num_frames

    def _grey(self, amplitudes: FloatArray, first: int, last: int) -> FloatArray:
        relative = np.minimum(amplitudes / self.level[first:last], 1)
        grey = _GREY_LEVELS * relative**self.axis.params.power_for_image
        return np.asarray(grey, np.float32)


def check_solver_steps(steps: int, field: str = "num_inference_steps") -> None:
    """Check the number of DDIM's steps.

    Args:
        steps: the number.
        field: what the error is about.

    Raises:
        InputError: it is out of range.
    """
    if not MIN_SOLVER_STEPS <= steps <= MAX_SOLVER_STEPS:
        raise InputError(
            f"{steps} must be from {MIN_SOLVER_STEPS} to {MAX_SOLVER_STEPS}; with fewer, a clip "
            "does not come back from its noise",
            field,
        )


def ddim_request(inputs: InferenceInput) -> InferenceInput:
    """The request for canvases to noise and from it: DDIM without guidance, with all its steps.

    Guidance isn't a small change to the network's output, so a guided step can't be undone.

    Args:
        inputs: seed, steps and LoRAs of the request.

    Raises:
        InputError: too few or too many steps.
    """
    check_solver_steps(inputs.num_inference_steps)
    start = {"prompt": "", "seed": inputs.start.seed, "denoising": 1.0, "guidance": 1.0}
    return InferenceInput.parse(
        {
            "start": start,
            "num_inference_steps": inputs.num_inference_steps,
            "scheduler": "ddim",
            "loras": inputs.loras,
        }
    )


def check_checkpoint(generator: ClipGenerator) -> None:
    """Check that a checkpoint can be sampled by DDIM.

    Raises:
        InputError: it can't.
    """
    distillation = generator.pipeline.distillation
    if distillation is not None and not distillation.guided_sampling:
        raise InputError(
            "this checkpoint is distilled without guided sampling: its steps add new noise, so no "
            "clip has a noise of its own; use a checkpoint that is not distilled",
            "checkpoint",
        )
    if generator.pipeline.scheduler.config.get("prediction_type") == "sample":
        raise InputError(
            "this checkpoint predicts finished latents, and the last step of DDIM then forgets the "
            "noise; use a checkpoint that predicts noise or v",
            "checkpoint",
        )


def finished(
    generator: ClipGenerator,
    request: InferenceInput,
    ways: Sequence[NoiseWay],
    progress: SharedProgress,
) -> list[FloatArray]:
    """Go several ways at the same time, in shared UNet calls, and wait for all.

    They take at most half of the engine's slots, so a long list doesn't keep other clips waiting.

    Args:
        generator: its engine computes them.
        request: see `ddim_request`.
        ways: the ways.
        progress: what they report to.

    Returns:
        Latents or noise, of the shape of each way's latents, in NumPy.
    """
    max_at_once = max(1, generator.engine.max_num_running // 2)
    requests: list[CanvasRequest] = []
    try:
        for index, way in enumerate(ways):
            if index >= max_at_once:
                requests[index - max_at_once].outcome.result()
            requests.append(generator.submit_canvas(request, way.plan(), progress.of_next()))
        return [as_numpy(each.outcome.result()) for each in requests]
    except BaseException:  # includes Ctrl-C
        for each in requests:
            each.cancel()
        raise


class SharedProgress:
    """The progress of several canvases as one; they all have the same number of steps.

    Args:
        number: number of canvases.
        on_progress: called with (steps done, number of steps) of all together.
    """

    def __init__(self, number: int, on_progress: ProgressCallback | None) -> None:
        self._number = number
        self._done: list[int] = []
        self._on_progress = on_progress

    def of_next(self) -> ProgressCallback:
        """The callback of the next canvas."""
        index = len(self._done)
        self._done.append(0)

        def report(done: int, total: int) -> None:
            self._done[index] = done
            if self._on_progress is not None:
                self._on_progress(sum(self._done), total * self._number)

        return report
