"""Requests to clips: the interface for the server, the command line and scripts."""

from __future__ import annotations

import copy
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from PIL import Image

from riffusion.audio import Audio, AudioSegment, decode_audio
from riffusion.datatypes import MAX_DURATION_S, InferenceInput
from riffusion.diffusion.canvas import CanvasPlan
from riffusion.diffusion.loras import LoraLibrary
from riffusion.diffusion.stages import PipelineStages, ProgressCallback
from riffusion.edit_fields import EDIT_MODES
from riffusion.engine import Engine, Request, RequestHandle
from riffusion.engine.engine import MAX_NUM_RUNNING
from riffusion.engine.request import CanvasRequest
from riffusion.errors import GenerationCancelled, InputError, MediaError, RecordedParamsError
from riffusion.generation.input_images import (
    converted_init_image,
    decoded_image,
    rgb_init_image,
    rgb_mask,
)
from riffusion.generation.media import Media
from riffusion.generation.pipelines import EngineName, load_pipeline
from riffusion.generation.request_memory import (
    LARGE_AUDIO_S,
    decoding,
    has_large_media,
    large_image,
    one_at_a_time,
    shrunk_mask,
)
from riffusion.generation.resolved_input import (
    ResolvedInput,
    check_prompts,
    check_size,
    warm_up_request,
)
from riffusion.generation.seed_library import SeedLibrary
from riffusion.io.data_urls import bytes_from_data_url
from riffusion.io.images import decode_image
from riffusion.runtime.threads import single_threaded
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.image import DEFAULT_MAX_VALUE
from riffusion.spectrogram.image_conversion import convert_mask
from riffusion.spectrogram.image_converter import SpectrogramImageConverter, params_from_image
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.unconditional_fields import UNCONDITIONAL

if TYPE_CHECKING:
    import torch

__all__ = ["Clip", "ClipGenerator", "ResolvedInput", "check_prompts"]

logger = logging.getLogger(__name__)


class AudioDecoder(Protocol):
    """Decodes the audio of a request: `decode_audio`, or a pool of processes."""

    def __call__(self, data: bytes, *, max_duration_s: float | None = None) -> AudioSegment: ...


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
        self._decoder = decoder
        self._request: Request[Any] | None = None
        self.engine = Engine(pipeline, max_num_running=max_num_running)
        self._audio_stream: torch.cuda.Stream | None = None
        if pipeline.device.type == "cuda":
            import torch

            # Audio goes first: it is short, and would otherwise wait behind the UNet's graphs.
            self._audio_stream = torch.cuda.Stream(pipeline.device, priority=-1)  # type: ignore[no-untyped-call] # torch is half typed
        self._converter = functools.lru_cache(maxsize=4)(self._new_converter)

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
        """Check the prompts and the sampling, and load the LoRAs.

        Raises:
            InputError: a prompt weight out of range, sampling that the checkpoint can't do, or a
                LoRA that is unknown or can't be used.
        """
        check_prompts(inputs)
        self.pipeline.check_sampling(inputs)
        self.pipeline.check_loras(inputs)

    def resolve(self, inputs: InferenceInput, media: Media | None = None) -> ResolvedInput:
        """Check the prompts and the sampling, look up ids and decode media.

        It doesn't use the model.

        Args:
            inputs: the request.
            media: media that are decoded already, in place of the request's.

        Raises:
            InputError: a prompt weight out of range, sampling that the checkpoint can't do, an
                unknown id, or media that can't be decoded or exceed a limit; `field` names the
                request's field.
            OverloadedError: the decoder has no time for the request's audio.
        """
        if inputs.mode in EDIT_MODES:
            raise InputError(
                f"{inputs.mode} edits a recording, which riffusion.editing does", field="mode"
            )
        if inputs.mode == UNCONDITIONAL:
            raise InputError(
                f"{inputs.mode!r} needs an unconditional checkpoint, and this one takes a prompt; "
                "use another mode",
                field="mode",
            )
        self.check(inputs)
        is_large = has_large_media(inputs)
        recording = self._decoded_audio(inputs, media or Media())  # others needn't wait for it
        with one_at_a_time(is_large):
            resolved = self._resolve(inputs, media or Media(), recording)
            if media is not None:
                return resolved
            if resolved.mask_image is not None and large_image(inputs.mask_image, "mask_image"):
                assert resolved.init_image is not None  # a mask needs one
                small = shrunk_mask(resolved.mask_image, resolved.init_image.size)
                resolved = dataclasses.replace(resolved, mask_image=small)
            if inputs.mode == "image_to_audio" and resolved.init_image is not None:
                encoded = large_image(inputs.init_image, "init_image")
                if encoded is not None:
                    row = Image.new("L", (resolved.init_image.width, 1))
                    resolved = dataclasses.replace(resolved, init_image=row, encoded_image=encoded)
            return resolved

    def _resolve(
        self, inputs: InferenceInput, media: Media, recording: AudioSegment | None
    ) -> ResolvedInput:
        params = self.pipeline.spectrogram_params
        if inputs.mode == "txt2img":
            return ResolvedInput(inputs, params)
        init_image = self._init_image(inputs, media, recording)
        try:
            own_params = params_from_image(init_image, params)
        except RecordedParamsError as error:
            raise RecordedParamsError(f"its EXIF holds {error}", "init_image") from error
        check_size(init_image, own_params)
        if inputs.mode == "image_to_audio":
            return ResolvedInput(inputs, own_params, rgb_init_image(init_image))
        mask_image = self._mask_image(inputs, media)
        if mask_image is not None:  # it covers the init image as it was given
            mask_image = convert_mask(mask_image, own_params, params)
        with self._beside_the_engine():
            init_image = converted_init_image(init_image, own_params, params)
        return ResolvedInput(inputs, params, init_image, mask_image)

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
        with self._beside_the_engine():
            waveform = self._converter(params).waveform_from_spectrogram_image(
                image, circular=is_drawn
            )
        audio_s = time.perf_counter() - start
        audio = Audio(waveform, params.sample_rate)
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
        return self._converter(self.pipeline.spectrogram_params).converter

    def image_from_audio(self, segment: AudioSegment) -> Image.Image:
        """Spectrogram image of a segment, with the checkpoint's spectrogram parameters."""
        params = self.pipeline.spectrogram_params
        with self._beside_the_engine():
            return self._converter(params).spectrogram_image_from_audio(segment)

    @contextmanager
    def _beside_the_engine(self) -> Iterator[None]:
        """Context for work outside the engine's thread: no OpenMP team, its own CUDA stream."""
        with single_threaded():
            if self._audio_stream is None:
                yield
                return
            import torch

            with torch.cuda.stream(self._audio_stream):
                yield

    def _new_converter(self, params: SpectrogramParams) -> SpectrogramImageConverter:
        return SpectrogramImageConverter(params, device=self.pipeline.device)

    def _decoded_audio(self, inputs: InferenceInput, media: Media) -> AudioSegment | None:
        """The audio in a request's `init_audio`, if the clip starts from it."""
        if inputs.mode == "txt2img" or inputs.init_audio is None:
            return None
        if media.init_image is not None or media.init_audio is not None:
            return None
        data = bytes_from_data_url(inputs.init_audio, "init_audio")
        with decoding("init_audio"):
            return (self._decoder or decode_audio)(data, max_duration_s=MAX_DURATION_S)

    def _init_image(
        self, inputs: InferenceInput, media: Media, recording: AudioSegment | None
    ) -> Image.Image:
        if media.init_image is not None:
            return media.init_image
        if media.init_audio is not None:
            return self.image_from_audio(media.init_audio)
        if inputs.init_image is not None:
            return decoded_image(inputs.init_image, "init_image")
        if recording is not None:
            with one_at_a_time(recording.duration_seconds > LARGE_AUDIO_S):
                try:
                    return self.image_from_audio(recording)
                except MediaError as error:
                    raise MediaError(str(error), "init_audio") from error
        return self.library.seed_image(inputs.seed_image_id)

    def _mask_image(self, inputs: InferenceInput, media: Media) -> Image.Image | None:
        if media.mask_image is not None:
            return rgb_mask(media.mask_image)
        if inputs.mask_image is not None:
            return rgb_mask(decoded_image(inputs.mask_image, "mask_image"))
        if inputs.mask_image_id is not None:
            return self.library.mask_image(inputs.mask_image_id)
        return None


def _with_parameters(image: Image.Image, params: SpectrogramParams) -> Image.Image:
    """A copy of an image whose EXIF holds all that its audio is computed with."""
    recorded = params.max_value_from_exif(image.getexif())
    max_value = DEFAULT_MAX_VALUE if recorded is None else recorded
    copy = image.copy()  # the caller's image stays as it is
    copy.getexif().update(params.to_exif(max_value=max_value))
    return copy
