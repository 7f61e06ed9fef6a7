"""Requests to clips: the interface for the server, the command line and scripts."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from riffusion.audio import Audio, AudioSegment
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.canvas import CanvasPlan
from riffusion.diffusion.loras import LoraLibrary
from riffusion.diffusion.stages import PipelineStages, ProgressCallback
from riffusion.engine import Engine, Request, RequestHandle
from riffusion.engine.engine import MAX_NUM_RUNNING
from riffusion.engine.request import CanvasRequest
from riffusion.errors import GenerationCancelled
from riffusion.generation.image_audio import ImageAudio
from riffusion.generation.input_images import rgb_init_image
from riffusion.generation.input_resolver import AudioDecoder, InputResolver
from riffusion.generation.media import Media
from riffusion.generation.pipelines import EngineName, load_pipeline
from riffusion.generation.resolved_input import ResolvedInput, check_prompts, warm_up_request
from riffusion.generation.seed_library import SeedLibrary
from riffusion.io.images import decode_image
from riffusion.runtime.threads import single_threaded
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.image import DEFAULT_MAX_VALUE
from riffusion.spectrogram.params import SpectrogramParams

if TYPE_CHECKING:
    import torch

__all__ = ["Clip", "ClipGenerator", "ResolvedInput", "check_prompts"]


@dataclass(frozen=True)
class Clip:
    """A finished clip.

    Args:
        image: spectrogram image, with `params` in its EXIF.
        audio: the audio of the image; each pixel column lasts one step of `params`.
        params: spectrogram parameters of the image.
        timings_s: seconds per stage.
    """

    image: Image.Image
    audio: Audio
    params: SpectrogramParams
    timings_s: dict[str, float] = field(default_factory=dict)


class ClipGenerator:
    """Makes clips with one checkpoint. Several threads may use it at the same time.

    On a CPU, only the engine's thread uses several OpenMP threads; see `riffusion.runtime.threads`.

    Args:
        pipeline: the loaded checkpoint.
        library: seed images and masks by id.
        max_num_running: maximum number of clips that the engine works on at the same time.
        decoder: decodes the audio of requests; None for `decode_audio`, in this process.

    Attributes:
        engine: generates the images of all running clips.
    """

    def __init__(
        self,
        pipeline: PipelineStages,
        library: SeedLibrary,
        max_num_running: int = MAX_NUM_RUNNING,
        decoder: AudioDecoder | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.library = library
        self._image_audio = ImageAudio(pipeline.device, pipeline.spectrogram_params)
        self._resolver = InputResolver(pipeline, library, self._image_audio, decoder)
        self._request: Request[Any] | None = None
        self.engine = Engine(pipeline, max_num_running=max_num_running)

    @classmethod
    def load(
        cls,
        checkpoint: str | None = None,
        device: str | None = None,
        max_num_running: int = MAX_NUM_RUNNING,
        decoder: AudioDecoder | None = None,
        loras: Mapping[str, Path] | None = None,
        engine: EngineName | None = None,
    ) -> Self:
        """Load a checkpoint and its seed images and masks.

        Args:
            checkpoint: folder, file or hub id; None for the default checkpoint.
            device: None for the fastest device available.
            max_num_running: maximum number of clips that the engine works on at the same time.
            decoder: decodes the audio of requests; None for `decode_audio`, in this process.
            loras: files or folders of the LoRAs that requests can name, by id. They are read when
                they are first used, or by `pipeline.loras.check`.
            engine: what runs the networks; see `load_pipeline`.

        Raises:
            CheckpointError: the checkpoint is missing, truncated or foreign.
            InputError: the engine or the device is unknown or not installed.
        """
        with single_threaded():
            pipeline = load_pipeline(checkpoint, device, engine)
        pipeline.loras = LoraLibrary(loras)
        directory = pipeline.checkpoint.directory if pipeline.checkpoint else None
        return cls(pipeline, SeedLibrary.default(directory), max_num_running, decoder)

    def close(self) -> None:
        """Stop the engine's thread, which keeps the checkpoint in memory."""
        self.engine.close()

    def warm_up(self) -> None:
        """Make a clip, which selects kernels, fills caches, and shows whether the device works.

        On CUDA, the engine warms up before.
        """
        if self.pipeline.device.type == "cuda":
            self.engine.warm_up()
        resolved = self.resolve(warm_up_request(self.pipeline.distillation))
        self.finish(resolved, self.start(resolved))

    @property
    def checkpoint_description(self) -> str:
        """The checkpoint, its source, device and precision, in words."""
        checkpoint = self.pipeline.checkpoint
        return checkpoint.description if checkpoint else "components passed in"

    def check(self, inputs: InferenceInput) -> None:
        """As `InputResolver.check`."""
        self._resolver.check(inputs)

    def resolve(self, inputs: InferenceInput, media: Media | None = None) -> ResolvedInput:
        """As `InputResolver.resolve`."""
        return self._resolver.resolve(inputs, media)

    def generate(
        self,
        resolved: ResolvedInput,
        on_progress: ProgressCallback | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Clip:
        """Make a clip, and wait for it.

        Args:
            resolved: what `resolve` returned.
            on_progress: called with (steps done, total steps).
            should_stop: called after every step; True cancels the clip.

        Raises:
            GenerationCancelled: `should_stop` returned True.
        """

        def check(done: int, total: int) -> None:
            if on_progress is not None:
                on_progress(done, total)
            if should_stop is not None and should_stop():
                raise GenerationCancelled(f"cancelled after {done} of {total} steps")

        handle = self.start(resolved, check)
        try:
            handle.image.result()
        except BaseException:  # includes Ctrl-C
            handle.cancel()
            raise
        return self.finish(resolved, handle)

    def start(
        self, resolved: ResolvedInput, on_progress: ProgressCallback | None = None
    ) -> RequestHandle:
        """Submit the clip's image to the engine; `finish` makes the clip from it.

        Args:
            resolved: what `resolve` returned.
            on_progress: called with (steps done, total steps), in the engine's thread.
        """
        if resolved.inputs.mode == "image_to_audio":
            handle = RequestHandle(resolved.inputs)
            assert resolved.init_image is not None
            handle.succeed(resolved.init_image)
            return handle
        return self.engine.submit(
            resolved.inputs, resolved.init_image, resolved.mask_image, on_progress, resolved.mix
        )

    def finish(self, resolved: ResolvedInput, handle: RequestHandle) -> Clip:
        """Wait for the clip's image and compute its audio, in the caller's thread.

        The engine continues with other clips meanwhile.
        """
        image = handle.image.result()
        if resolved.encoded_image is not None:
            image = rgb_init_image(decode_image(resolved.encoded_image))
        params = resolved.params
        if resolved.inputs.mode != "image_to_audio":
            image.getexif().update(params.to_exif(max_value=DEFAULT_MAX_VALUE))
        else:
            image = _with_parameters(image, params)
        is_drawn = resolved.inputs.mode != "image_to_audio"  # drawn clips repeat, and may be joined
        start = time.perf_counter()
        audio = self._image_audio.audio_from_image(image, params, circular=is_drawn)
        audio_s = time.perf_counter() - start
        return Clip(image, audio, params, {**handle.stages_s, "audio": audio_s})

    def working_for(self, request: Request[Any]) -> Self:
        """The same generator, whose canvases are cancelled together with a request."""
        own = copy.copy(self)
        own._request = request
        return own

    def check_wanted(self) -> None:
        """Check that the request that this generator works for is still wanted.

        Raises:
            GenerationCancelled: it was cancelled.
        """
        if self._request is not None and self._request.cancellation is not None:
            raise self._request.cancellation

    def canvas(
        self,
        inputs: InferenceInput,
        plan: CanvasPlan,
        on_progress: ProgressCallback | None = None,
    ) -> torch.Tensor:
        """Denoise a canvas, and wait for it; see `RiffusionPipeline.prepare_canvas`.

        Args:
            on_progress: called with (steps done, total steps), in the engine's thread; what it
                raises ends the work.

        Returns:
            The finished latents, (1, channels, height, columns).
        """
        request = self.submit_canvas(inputs, plan, on_progress)
        try:
            latents: torch.Tensor = request.outcome.result()
            return latents
        except BaseException:  # includes Ctrl-C
            request.cancel()
            raise

    def submit_canvas(
        self,
        inputs: InferenceInput,
        plan: CanvasPlan,
        on_progress: ProgressCallback | None = None,
    ) -> CanvasRequest:
        """Request a canvas; the arguments are those of `canvas`, which waits for it."""
        request = self.engine.submit_canvas(inputs, plan, on_progress)
        if self._request is not None:
            self._request.add_part(request)
        return request

    @property
    def converter(self) -> SpectrogramConverter:
        """Converts audio with the checkpoint's spectrogram parameters."""
        return self._image_audio.converter

    def image_from_audio(self, segment: AudioSegment) -> Image.Image:
        """Spectrogram image of a segment, with the checkpoint's spectrogram parameters."""
        return self._image_audio.image_from_audio(segment)


def _with_parameters(image: Image.Image, params: SpectrogramParams) -> Image.Image:
    """A copy of an image whose EXIF holds all that its audio is computed with."""
    recorded = params.max_value_from_exif(image.getexif())
    max_value = DEFAULT_MAX_VALUE if recorded is None else recorded
    copy = image.copy()  # the caller's image stays as it is
    copy.getexif().update(params.to_exif(max_value=max_value))
    return copy
