"""`riffusion restyle`: another sound for a recording, from text, with its beat and length."""

from typing import Annotated

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.edits import EditSeed, Song, edit_request, opened, print_seed, write_edit
from riffusion.cli.magic_mix import MagicMixOptions
from riffusion.cli.option_groups import (
    AdapterOptions,
    CheckpointOptions,
    EditOptions,
    expand_option_groups,
)
from riffusion.cli.paired_options import PromptsAt


@expand_option_groups
def restyle(
    song: Song,
    prompt: Annotated[
        str, typer.Argument(help="What the recording should sound like.", show_default=False)
    ],
    *,
    output: options.AudioOutput,
    prompt_at: PromptsAt = [],  # noqa: B006 # Typer reads it, nothing changes it
    seed: EditSeed = None,
    diffusion: EditOptions,
    adapters: AdapterOptions,
    magic: MagicMixOptions,
    model: CheckpointOptions,
) -> None:
    """Give a recording another sound. Its length and its beat stay.

    --denoising, by default 0.5, says how much changes. With --prompt-at the sound moves from one
    text to the next along the way. With --magic-mix, the layout stays and the details change.
    """
    from riffusion.edit_fields import DEFAULT_DENOISING
    from riffusion.editing.restyling import PromptAtTime, check_prompts_at, restyle
    from riffusion.editing.times import parse_time

    points = [PromptAtTime(parse_time(at.time, "prompt_at"), at.text) for at in prompt_at]
    fields = diffusion.edit_fields(DEFAULT_DENOISING["restyle"])
    mix = magic.mix(diffusion.denoising)
    inputs = edit_request(
        prompt, seed, fields, diffusion.request_fields() | adapters.request_fields(model)
    )
    with opened(song, output) as recording:
        check_prompts_at(recording, points)  # before the checkpoint is loaded
        print_seed(inputs)
        generator = ClipMaker(model, adapters).generator
        write_edit(
            recording, output, lambda move: restyle(recording, generator, inputs, points, move, mix)
        )
