"""The options that a clip has to keep, such as --tempo, and what is printed about them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from riffusion.cli.clip_requests import InitOptions
from riffusion.cli.option_groups import with_default_loop

if TYPE_CHECKING:
    from riffusion.promises.drawing import PromisedClip
    from riffusion.promises.promise import Promise


@dataclass(frozen=True)
class PromiseOptions:
    """Tempo, key and beats, which are checked in the clips."""

    tempo: Annotated[
        float | None,
        typer.Option(
            help="Tempo in beats per minute, 30 to 300. It is checked, and put right if it is off.",
            show_default=False,
        ),
    ] = None
    key: Annotated[
        str | None,
        typer.Option(
            help="Key, such as 'A minor' or F#. It is checked, and put right if it is off.",
            show_default=False,
        ),
    ] = None
    beats: Annotated[
        int | None,
        typer.Option(
            help="Length of a clip in beats; default with --tempo: as many as last about 5.12 s.",
            show_default=False,
        ),
    ] = None

    @property
    def are_given(self) -> bool:
        """Whether any of them is given."""
        return (self.tempo, self.key, self.beats) != (None, None, None)

    def fields(self) -> dict[str, Any]:
        """The request's fields, those that are given."""
        values = {"tempo_bpm": self.tempo, "key": self.key, "beats": self.beats}
        return {name: value for name, value in values.items() if value is not None}

    def with_loop(self, init: InitOptions) -> InitOptions:
        """What to start from: with a promise, by default the default loop, made for it."""
        return with_default_loop(init) if self.are_given else init


def print_promised(made: "PromisedClip") -> None:
    """Print what is heard in a clip, if something was promised."""
    from riffusion.promises.remarks import remarks

    if made.promise is None or made.fit is None:
        return
    hearing = made.fit.hearing
    error = made.tempo_error_percent
    if error is not None:
        print(
            f"tempo       {hearing.tempo_bpm:.2f} bpm (certainty {hearing.tempo_certainty:.0%})\n"
            f"tempo_error {error:.2f} %"
        )
    if made.promise.key is not None and hearing.key is not None:
        print(f"key         {hearing.key.key.name} (certainty {hearing.key.certainty:.0%})")
    for line in remarks(made):
        print(f"note        {line}")


class PromisedPiece:
    """Counts what is heard in the clips of a piece, which may be very many."""

    def __init__(self) -> None:
        self._promise: Promise | None = None
        self._num_clips = self._num_in_key = 0
        self._errors: list[float] = []

    def add(self, made: "PromisedClip") -> None:
        """Add the next clip."""
        from riffusion.promises.hearing import is_in_key

        self._promise = made.promise
        self._num_clips += 1
        error = made.tempo_error_percent
        if error is not None:
            self._errors.append(abs(error))
        if made.promise is not None and made.promise.key is not None and made.fit is not None:
            self._num_in_key += is_in_key(made.fit.hearing, made.promise.key)

    def print(self) -> None:
        """Print what was heard, if something was promised."""
        promise, of_clips = self._promise, f"of {self._num_clips} clips"
        if promise is None:
            return
        if promise.tempo_bpm is not None:
            print(
                f"tempo       {promise.tempo_bpm:g} bpm: a beat is heard in {len(self._errors)} "
                f"{of_clips}; each is {promise.duration_s:.4g} s long"
            )
            if self._errors:
                print(f"tempo_error {max(self._errors):.2f} % at most")
        if promise.key is not None:
            print(f"key         {promise.key.name} is heard in {self._num_in_key} {of_clips}")
