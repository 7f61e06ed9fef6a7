"""`riffusion restyle`: a recording made anew from text, with its beat and length."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.edits import EditSeed, Song, edit_request, opened, write_edit
from riffusion.cli.option_groups import (
    AdapterOptions,
    CheckpointOptions,
    EditOptions,
    expand_option_groups,
)
from riffusion.cli.paired_options import PromptsAt
from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.editing.remaking import MagicMix


@dataclass(frozen=True)
class MagicMixOptions:
    """Layout from the recording, details from the text."""

    magic_mix: Annotated[
        float | None,
        typer.Option(
            help="Keep the recording's layout and take the details from the text: share of the "
            "text in the mix, such as 0.5.",
            show_default=False,
        ),
    ] = None
    mix_from: Annotated[
        float | None,
        typer.Option(
            help="Noise level down to which --magic-mix mixes, from 0 to 1; default: 0.3.",
            show_default=False,
        ),
    ] = None
    mix_to: Annotated[
        float | None,
        typer.Option(
            help="Noise level at which --magic-mix begins, in place of --denoising; default: 0.6.",
            show_default=False,
        ),
    ] = None

    def mix(self, denoising: float | None) -> "MagicMix | None":
        """The mix; None if there is none.

        Raises:
            InputError: a value is out of range, or options that don't go together.
        """
        from riffusion.editing.remaking import MagicMix

        levels = {"low": self.mix_from, "high": self.mix_to}
        given = {name: level for name, level in levels.items() if level is not None}
        if self.magic_mix is None:
            if given:
                raise InputError(
                    "is a level of --magic-mix; add that",
                    field="mix_from" if "low" in given else "mix_to",
                )
            return None
        if denoising is not None:
            raise InputError(
                "excludes --magic-mix, for which --mix-to says how much changes", field="denoising"
            )
        return MagicMix(self.magic_mix, **given)


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
        prompt, seed, fields, diffusion.request_fields() | adapters.request_fields()
    )
    with opened(song, output) as recording:
        check_prompts_at(recording, points)  # before the checkpoint is loaded
        generator = ClipMaker(model.checkpoint, model.device, adapters).generator
        write_edit(
            recording, output, lambda move: restyle(recording, generator, inputs, points, move, mix)
        )
