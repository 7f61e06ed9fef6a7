"""Requests are resolved: checked, ids looked up, and media decoded."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from PIL import Image

from riffusion.audio import AudioSegment, decode_audio
from riffusion.datatypes import MAX_DURATION_S, InferenceInput
from riffusion.diffusion.stages import PipelineStages
from riffusion.edit_fields import EDIT_MODES
from riffusion.errors import InputError, MediaError, RecordedParamsError
from riffusion.generation.image_audio import ImageAudio
from riffusion.generation.input_images import (
    converted_init_image,
    decoded_image,
    rgb_init_image,
    rgb_mask,
)
from riffusion.generation.media import Media
from riffusion.generation.request_memory import (
    LARGE_AUDIO_S,
    decoding,
    has_large_media,
    large_image,
    one_at_a_time,
    shrunk_mask,
)
from riffusion.generation.resolved_input import ResolvedInput, check_prompts, check_size
from riffusion.generation.seed_library import SeedLibrary
from riffusion.io.data_urls import bytes_from_data_url
from riffusion.spectrogram.image_conversion import convert_mask
from riffusion.spectrogram.image_converter import params_from_image
from riffusion.unconditional_fields import UNCONDITIONAL


class AudioDecoder(Protocol):
    """Decodes the audio of a request: `decode_audio`, or a pool of processes."""

    def __call__(self, data: bytes, *, max_duration_s: float | None = None) -> AudioSegment: ...


class InputResolver:
    """Resolves requests to one checkpoint. Several threads may use it at the same time.

    Args:
        pipeline: the loaded checkpoint.
        library: seed images and masks by id.
        image_audio: makes images of the requests' audio.
        decoder: decodes the audio of requests; None for `decode_audio`, in this process.
    """

    def __init__(
        self,
        pipeline: PipelineStages,
        library: SeedLibrary,
        image_audio: ImageAudio,
        decoder: AudioDecoder | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._library = library
        self._image_audio = image_audio
        self._decoder = decoder

    def check(self, inputs: InferenceInput) -> None:
        """Check the prompts and the sampling, and load the LoRAs.

        Raises:
            InputError: a prompt weight out of range, sampling that the checkpoint can't do, or a
                LoRA that is unknown or can't be used.
        """
        check_prompts(inputs)
        self._pipeline.check_sampling(inputs)
        self._pipeline.check_loras(inputs)

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
        params = self._pipeline.spectrogram_params
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
        with self._image_audio.beside_the_engine():
            init_image = converted_init_image(init_image, own_params, params)
        return ResolvedInput(inputs, params, init_image, mask_image)

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
            return self._image_audio.image_from_audio(media.init_audio)
        if inputs.init_image is not None:
            return decoded_image(inputs.init_image, "init_image")
        if recording is not None:
            with one_at_a_time(recording.duration_seconds > LARGE_AUDIO_S):
                try:
                    return self._image_audio.image_from_audio(recording)
                except MediaError as error:
                    raise MediaError(str(error), "init_audio") from error
        return self._library.seed_image(inputs.seed_image_id)

    def _mask_image(self, inputs: InferenceInput, media: Media) -> Image.Image | None:
        if media.mask_image is not None:
            return rgb_mask(media.mask_image)
        if inputs.mask_image is not None:
            return rgb_mask(decoded_image(inputs.mask_image, "mask_image"))
        if inputs.mask_image_id is not None:
            return self._library.mask_image(inputs.mask_image_id)
        return None
