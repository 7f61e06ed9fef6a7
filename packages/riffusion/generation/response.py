"""Clips to responses of the inference API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riffusion.audio import MEDIA_TYPES as AUDIO_MEDIA_TYPES
from riffusion.audio import encode_audio
from riffusion.datatypes import InferenceInput, InferenceOutput
from riffusion.generation.generator import Clip
from riffusion.io.data_urls import data_url
from riffusion.io.images import MEDIA_TYPES as IMAGE_MEDIA_TYPES
from riffusion.io.images import encode_image

if TYPE_CHECKING:
    from riffusion.generation.unconditional import UnconditionalClip


def output_from_clip(clip: Clip | UnconditionalClip, inputs: InferenceInput) -> InferenceOutput:
    """The response with a clip, in the formats that the request asks for."""
    image = encode_image(clip.image, inputs.image_format)
    audio = encode_audio(clip.audio, inputs.audio_format)
    return InferenceOutput(
        image=data_url(image, IMAGE_MEDIA_TYPES[inputs.image_format]),
        audio=data_url(audio, AUDIO_MEDIA_TYPES[inputs.audio_format]),
        duration_s=clip.audio.duration_s,
    )
