"""A request whose ids are looked up and whose media are decoded, and the checks that it passes."""

from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from riffusion.checkpoint.distillation import Distillation
from riffusion.datatypes import DEFAULT_GUIDANCE, MAX_DURATION_S, InferenceInput
from riffusion.diffusion.magic_mix import MagicMix
from riffusion.diffusion.prompt_weights import parse_prompt_weights
from riffusion.errors import InputError, RecordedParamsError
from riffusion.spectrogram.params import SpectrogramParams

_MAX_SPECTROGRAM_CELLS = 6000 * 17_640
"""Limit for frames × FFT length: a minute with the default parameters."""


@dataclass(frozen=True)
class ResolvedInput:
    """A request with its ids looked up and its media decoded.

    Several requests that differ only in prompts, seeds and alpha can share one; see
    `dataclasses.replace`.

    Args:
        inputs: the request.
        params: spectrogram parameters of the clip's image.
        init_image: the image that the clip starts from or, for mode image_to_audio, the clip's own
            image; `params.num_frequencies` high; None for mode txt2img.
        mask_image: white is repainted, black is kept.
        mix: how the init image is mixed in along the way, in place of a mask; None for not at all.
        encoded_image: a large clip's own image, which is decoded when its audio is made; then
            `init_image` is a single row of the same width.
    """

    inputs: InferenceInput
    params: SpectrogramParams
    init_image: Image.Image | None = None
    mask_image: Image.Image | None = None
    mix: MagicMix | None = None
    encoded_image: bytes | None = field(default=None, repr=False)

    @property
    def init_duration_s(self) -> float | None:
        """Duration of the clip in seconds if an init image decides it, else None."""
        if self.init_image is None:
            return None
        return self.params.num_samples(self.init_image.width) / self.params.sample_rate


def warm_up_request(distillation: Distillation | None) -> InferenceInput:
    """A cheap request that the checkpoint can do.

    Args:
        distillation: what the checkpoint can do if it is distilled.
    """
    start: dict[str, Any] = {"prompt": "warm-up", "seed": 0}
    num_steps = 2
    if distillation is not None:
        low, high = distillation.guidance
        start["guidance"] = min(max(low, DEFAULT_GUIDANCE), high)
        num_steps = min(num_steps, distillation.max_steps)
    return InferenceInput.parse({"start": start, "num_inference_steps": num_steps})


def check_prompts(inputs: InferenceInput) -> None:
    """Check the weights in a request's prompts. The pipeline reuses what is parsed here.

    Raises:
        InputError: a weight is out of range; `field` names the request's field.
    """
    for end_name, end in (("start", inputs.start), ("end", inputs.end)):
        for name, prompt in (("prompt", end.prompt), ("negative_prompt", end.negative_prompt)):
            try:
                parse_prompt_weights(prompt or "")
            except InputError as error:
                raise InputError(str(error), f"{end_name}.{name}") from None


def check_size(image: Image.Image, params: SpectrogramParams) -> None:
    """Check that an image's parameters don't make its audio too long, or too large to compute.

    Raises:
        RecordedParamsError: they do; `field` is `init_image`.
    """
    duration_s = params.num_samples(image.width) / params.sample_rate
    if duration_s > MAX_DURATION_S:
        raise RecordedParamsError(
            f"{image.width} frames of step_size_ms={params.step_size_ms} are {duration_s:g} s of "
            f"audio; at most {MAX_DURATION_S:g} s are allowed",
            "init_image",
        )
    if image.width * params.n_fft > _MAX_SPECTROGRAM_CELLS:
        raise RecordedParamsError(
            f"{image.width} frames of padded_duration_ms={params.padded_duration_ms} at "
            f"sample_rate={params.sample_rate} are too large a spectrogram; lower one of them",
            "init_image",
        )
