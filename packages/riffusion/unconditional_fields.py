"""The fields that mode=unconditional takes, and their defaults.

It is for checkpoints that take no text. Everything that is known without the checkpoint is checked
here; `serving.model.unconditional_clips` checks the rest.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from riffusion.edit_fields import check_taken

UNCONDITIONAL = "unconditional"
DEFAULT_DENOISING = 0.5
"""Share of the steps that a variation takes if the request doesn't say: the command's default."""
_SCHEDULERS = ("ddpm", "ddim")
_OTHER_SETTINGS = ("preset", "guidance_interval", "seed_image_id")
_PROMPT_SETTINGS = ("negative_prompt", "guidance")
"""Settings of clips from text, in a request and in its `start`."""


def with_unconditional_defaults(values: Any) -> Any:
    """A request's values with the defaults of this mode, if it is the request's: no prompt, and
    `denoising` for a variation of `init_audio`.
    """
    if not isinstance(values, Mapping) or values.get("mode") != UNCONDITIONAL:
        return values
    defaults: dict[str, Any] = {"prompt": ""}
    if values.get("init_audio") is not None:
        defaults["denoising"] = DEFAULT_DENOISING
    prompts = {
        name: {**defaults, **prompt}
        for name in ("start", "end")
        if isinstance(prompt := values.get(name), Mapping)
    }
    return {**values, **prompts}


def check_unconditional_fields(request: BaseModel) -> None:
    """Check that a request of mode=unconditional has nothing that has no effect in it.

    A setting of clips at its default doesn't count: clients send all of them with every request.

    Raises:
        ValueError: the field, what is wrong with it, and the remedy.
    """
    fields = request.__dict__
    start, has_audio = fields["start"], fields["init_audio"] is not None
    refusals = {
        "start.prompt": (start.prompt != "", "its checkpoint takes no text; leave it out"),
        "init_image": (fields["init_image"] is not None, "it starts from audio; send init_audio"),
        "mask_image": (fields["mask_image"] is not None, "it takes no mask; leave it out"),
        "mask_image_id": (fields["mask_image_id"] is not None, "it takes no mask; leave it out"),
        "duration_s": (fields["duration_s"] is not None, "its checkpoint sets it; leave it out"),
        "loras": (bool(fields["loras"]), "its checkpoint takes none; leave them out"),
        "alpha": (fields["alpha"] != 0, "it has no end to go to; leave it out"),
        "end": (fields["end"] != start, "it has one seed, in start; leave it out"),
    }
    for field, (is_given, reason) in refusals.items():
        if is_given:
            raise ValueError(f"{field}: has no effect in mode={UNCONDITIONAL}: {reason}")
    check_taken(
        UNCONDITIONAL, request, dict.fromkeys(("preset", "guidance_interval", "seed_image_id"), ())
    )
    check_taken(UNCONDITIONAL, start, dict.fromkeys(("negative_prompt", "guidance"), ()), "start.")
    if fields["scheduler"] not in (None, *_SCHEDULERS):
        raise ValueError(
            f"scheduler: {fields['scheduler']!r} must be {' or '.join(_SCHEDULERS)} for "
            f"mode={UNCONDITIONAL}, or left out for the checkpoint's own"
        )
    if has_audio and start.denoising == 0:
        raise ValueError(
            "start.denoising: 0 leaves no step to take, so nothing would change; use more than 0"
        )
    if not has_audio and start.denoising != type(start).model_fields["denoising"].default:
        raise ValueError(
            f"start.denoising: {start.denoising:g} needs audio to vary; send init_audio, or leave "
            "it out"
        )
