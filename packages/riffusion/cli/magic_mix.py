"""Options of magic mix: the layout of a recording or of one text, the details of another text."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.diffusion.magic_mix import MagicMix

MixFrom = Annotated[
    float | None,
    typer.Option(
        help="Noise level down to which --magic-mix mixes, from 0 to 1; default: 0.3.",
        show_default=False,
    ),
]


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
    mix_from: MixFrom = None
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
        levels = {"mix_from": self.mix_from, "mix_to": self.mix_to}
        if self.magic_mix is None:
            _check_not_given(levels)
            return None
        if denoising is not None:
            raise InputError(
                "excludes --magic-mix, for which --mix-to says how much changes", field="denoising"
            )
        return _mix({"magic_mix": self.magic_mix, **levels})


@dataclass(frozen=True)
class LayoutOptions:
    """Layout from one text, details from another."""

    magic_mix: Annotated[
        str | None,
        typer.Option(
            help="Take the layout of the clip from this text, and the details from PROMPT.",
            show_default=False,
        ),
    ] = None
    mix_share: Annotated[
        float | None,
        typer.Option(
            help="Share of PROMPT in the mix of --magic-mix, from 0 to 1; default: 0.5.",
            show_default=False,
        ),
    ] = None
    mix_from: MixFrom = None
    mix_to: Annotated[
        float | None,
        typer.Option(
            help="Noise level at which --magic-mix begins, from 0 to 1; default: 0.6.",
            show_default=False,
        ),
    ] = None

    def mix(self) -> "MagicMix | None":
        """The mix; None if there is none.

        Raises:
            InputError: a value or a prompt's weight is out of range, or there is no --magic-mix for
                a value.
        """
        values = {"mix_share": self.mix_share, "mix_from": self.mix_from, "mix_to": self.mix_to}
        if self.magic_mix is None:
            _check_not_given(values)
            return None
        from riffusion.diffusion.prompt_weights import parse_prompt_weights

        try:
            parse_prompt_weights(self.magic_mix)
        except InputError as error:
            raise InputError(str(error), field="magic_mix") from None
        return _mix(values)


def _check_not_given(values: dict[str, float | None]) -> None:
    for name, value in values.items():
        if value is not None:
            kind = "the share" if name == "mix_share" else "a level"
            raise InputError(f"is {kind} of --magic-mix; add that", field=name)


def _mix(values: dict[str, float | None]) -> "MagicMix":
    """The mix of options' values; an error names the option."""
    from riffusion.diffusion.magic_mix import MagicMix

    names = {"mix_share": "share", "magic_mix": "share", "mix_from": "low", "mix_to": "high"}
    given = {names[name]: value for name, value in values.items() if value is not None}
    try:
        return MagicMix(**given)
    except InputError as error:
        if error.field == "magic_mix" and "mix_share" in values:
            message = str(error).removeprefix("magic_mix: ")
            raise InputError(message, field="mix_share") from None
        raise
