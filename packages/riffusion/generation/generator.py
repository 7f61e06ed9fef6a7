"""From a request to a clip: what the server, the command line and scripts all call."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import torch
from PIL import Image

from riffusion.audio import AudioSegment, decode_audio
from riffusion.datatypes import MAX_DURATION_S, InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.pipeline import ProgressCallback
from riffusion.diffusion.prompt_weights import parse_prompt_weights
from riffusion.engine import Engine, RequestHandle
from riffusion.engine.engine import MAX_NUM_RUNNING
from riffusion.errors import GenerationCancelled, InputError, MediaError, SpectrogramParamsError
from riffusion.generation.seed_library import SeedLibrary
from riffusion.io.data_urls import bytes_from_data_url
from riffusion.io.images import decode_image
from riffusion.runtime.threads import single_threaded
from riffusion.spectrogram.image import DEFAULT_MAX_VALUE, rgb_image
from riffusion.spectrogram.image_converter import SpectrogramImageConverter, params_from_image
from riffusion.spectrogram.params import SpectrogramParams

logger = logging.getLogger(__name__)

_MAX_SPECTROGRAM_CELLS = 6000 * 17_640
"""A minute of the default parameters."""


@dataclass(frozen=True)
class ResolvedInput:
    """A request whose ids are looked up and whose media are decoded.

    Args:
        inputs: the request.
        params: how the clip's image sounds.
        init_image: the image to paint over or to hear, `params.num_frequencies` high; None for
            mode txt2img.
        mask_image: white is repainted, black is kept.
    """

    inputs: InferenceInput
    params: SpectrogramParams
    init_image: Image.Image | None = None
    mask_image: Image.Image | None = None


@dataclass(frozen=True)
class Clip:
    """A finished clip.

    Args:
        image: spectrogram image, `params` in its EXIF.
        segment: what it sounds like, one step of `params` a column.
        timings_s: seconds by stage.
    """

    image: Image.Image
    segment: AudioSegment
    params: SpectrogramParams
    timings_s: dict[str, float] = field(default_factory=dict)


class ClipGenerator:
    """Makes clips with one checkpoint. Several threads may use it at once.

    On a CPU only the engine's thread has several OpenMP threads; see `riffusion.runtime.threads`.

    Args:
        pipeline: the loaded checkpoint.
        library: seed images and masks by id.
        max_num_running: clips that share the model's time.

    Attributes:
        engine: what draws the images of all clips in the making.
    """

    def __init__(
        self,
        pipeline: RiffusionPipeline,
        library: SeedLibrary,
        max_num_running: int = MAX_NUM_RUNNING,
    ) -> None:
        self.pipeline = pipeline
        self.library = library
        self.engine = Engine(pipeline, max_num_running=max_num_running)
        self._sound_stream: torch.cuda.Stream | None = None
        if pipeline.device.type == "cuda":
            self._sound_stream = torch.cuda.Stream(pipeline.device)  # type: ignore[no-untyped-call] # torch is half typed
        self._converter = functools.lru_cache(maxsize=4)(self._new_converter)

    @classmethod
    def load(
        cls,
        checkpoint: str | None = None,
        device: str | None = None,
        max_num_running: int = MAX_NUM_RUNNING,
    ) -> Self:
        """Load a checkpoint and the library that goes with it.

        Args:
            checkpoint: folder, file or hub id; None for the default one.
            device: None for the best there is.
            max_num_running: clips that share the model's time.

        Raises:
            CheckpointError: the checkpoint is missing, truncated or foreign.
        """
        with single_threaded():
            pipeline = RiffusionPipeline.from_pretrained(checkpoint, device=device)
        directory = pipeline.checkpoint.directory if pipeline.checkpoint else None
        return cls(pipeline, SeedLibrary.default(directory), max_num_running)

    def close(self) -> None:
        """End the engine's thread, which keeps the checkpoint in memory."""
        self.engine.close()

    @property
    def checkpoint_description(self) -> str:
        """What was loaded, from where, on which device and in which precision."""
        checkpoint = self.pipeline.checkpoint
        return checkpoint.description if checkpoint else "components passed in"

    def resolve(self, inputs: InferenceInput) -> ResolvedInput:
        """Look up ids and decode media. Costs no model time.

        Raises:
            InputError: an unknown id, or media that don't decode or exceed a limit; `field` says
                which.
        """
        for end_name, end in (("start", inputs.start), ("end", inputs.end)):
            for name, prompt in (("prompt", end.prompt), ("negative_prompt", end.negative_prompt)):
                _check_prompt(prompt or "", f"{end_name}.{name}")
        params = self.pipeline.spectrogram_params
        if inputs.mode == "txt2img":
            return ResolvedInput(inputs, params)
        init_image = self._init_image(inputs)
        if inputs.mode == "image_to_audio":
            try:
                params = params_from_image(init_image, params)
            except SpectrogramParamsError as error:
                raise InputError(f"its EXIF holds {error}", "init_image") from error
            _check_size(init_image, params)
            return ResolvedInput(inputs, params, init_image)
        return ResolvedInput(inputs, params, self._fitted(init_image), self._mask_image(inputs))

    def generate(
        self,
        resolved: ResolvedInput,
        on_progress: ProgressCallback | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Clip:
        """Make the clip, and wait for it.

        Args:
            on_progress: called with (steps done, steps in all).
            should_stop: asked after every step.

        Raises:
            GenerationCancelled: `should_stop` said so.
        """

        def check(done: int, total: int) -> None:
            if on_progress is not None:
                on_progress(done, total)
            if should_stop is not None and should_stop():
                raise GenerationCancelled(f"cancelled after {done} of {total} steps")

        drawing = self.start(resolved, check)
        try:
            drawing.image.result()
        except BaseException:  # Ctrl-C, too
            drawing.cancel()
            raise
        return self.finish(resolved, drawing)

    def start(
        self, resolved: ResolvedInput, on_progress: ProgressCallback | None = None
    ) -> RequestHandle:
        """Let the engine draw the clip's image; `finish` makes it heard.

        Args:
            on_progress: called with (steps done, steps in all), in the engine's thread.
        """
        if resolved.inputs.mode == "image_to_audio":
            drawing = RequestHandle(resolved.inputs)
            assert resolved.init_image is not None
            drawing.succeed(resolved.init_image)
            return drawing
        return self.engine.submit(
            resolved.inputs, resolved.init_image, resolved.mask_image, on_progress
        )

    def finish(self, resolved: ResolvedInput, drawing: RequestHandle) -> Clip:
        """The clip of a finished drawing. Computes beside the engine, in the caller's thread."""
        image = drawing.image.result()
        if resolved.inputs.mode != "image_to_audio":
            image.getexif().update(resolved.params.to_exif(max_value=DEFAULT_MAX_VALUE))
        start = time.perf_counter()
        with self._beside_the_engine():
            segment = self._converter(resolved.params).audio_from_spectrogram_image(image)
        audio_s = time.perf_counter() - start
        return Clip(image, segment, resolved.params, {**drawing.stages_s, "audio": audio_s})

    def image_from_audio(self, segment: AudioSegment) -> Image.Image:
        """Spectrogram image of a segment, as this checkpoint's images are made."""
        params = self.pipeline.spectrogram_params
        with self._beside_the_engine():
            return self._converter(params).spectrogram_image_from_audio(segment)

    @contextmanager
    def _beside_the_engine(self) -> Iterator[None]:
        """For other threads than the engine's: no team on a CPU, a stream of its own on CUDA."""
        with single_threaded(), torch.cuda.stream(self._sound_stream):
            yield

    def _new_converter(self, params: SpectrogramParams) -> SpectrogramImageConverter:
        return SpectrogramImageConverter(params, device=self.pipeline.device)

    def _init_image(self, inputs: InferenceInput) -> Image.Image:
        if inputs.init_image is not None:
            return _decoded_image(inputs.init_image, "init_image")
        if inputs.init_audio is not None:
            data = bytes_from_data_url(inputs.init_audio, "init_audio")
            try:
                return self.image_from_audio(decode_audio(data, max_duration_s=MAX_DURATION_S))
            except MediaError as error:
                raise MediaError(str(error), "init_audio") from error
        return self.library.seed_image(inputs.seed_image_id)

    def _mask_image(self, inputs: InferenceInput) -> Image.Image | None:
        if inputs.mask_image is not None:
            return _decoded_image(inputs.mask_image, "mask_image")
        if inputs.mask_image_id is not None:
            return self.library.mask_image(inputs.mask_image_id)
        return None

    def _fitted(self, image: Image.Image) -> Image.Image:
        """`image` with as many rows as the checkpoint has mel bands."""
        rows = self.pipeline.spectrogram_params.num_frequencies
        pixels = rgb_image(image)
        if pixels.height != rows:
            pixels = pixels.resize((pixels.width, rows), Image.Resampling.LANCZOS)
        return pixels


def _check_size(image: Image.Image, params: SpectrogramParams) -> None:
    """Refuse an image whose own parameters make its sound too long, or too large to compute."""
    duration_s = params.num_samples(image.width) / params.sample_rate
    if duration_s > MAX_DURATION_S:
        raise InputError(
            f"{image.width} columns of step_size_ms={params.step_size_ms} are {duration_s:g} s of "
            f"sound; at most {MAX_DURATION_S:g} s are allowed",
            "init_image",
        )
    if image.width * params.n_fft > _MAX_SPECTROGRAM_CELLS:
        raise InputError(
            f"{image.width} columns of padded_duration_ms={params.padded_duration_ms} at "
            f"sample_rate={params.sample_rate} are too large a spectrogram; lower one of them",
            "init_image",
        )


def _check_prompt(prompt: str, field_name: str) -> None:
    try:
        parse_prompt_weights(prompt)
    except InputError as error:
        raise InputError(str(error), field_name) from None


def _decoded_image(text: str, field_name: str) -> Image.Image:
    data = bytes_from_data_url(text, field_name)
    try:
        return decode_image(data)
    except MediaError as error:
        raise MediaError(str(error), field_name) from error
