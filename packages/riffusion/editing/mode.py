"""A mode of a request that edits a recording: what it checks, and the work that it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate

from riffusion.audio.pcm import Pcm
from riffusion.audio.recording import Recording
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.splicing import Part
from riffusion.generation.generator import ClipGenerator


@dataclass(frozen=True, eq=False)
class Edit:
    """A finished edit.

    Args:
        parts: what the edited recording consists of; see `splicing`.
        facts: further fields of the answer, by name; None where something isn't known.
        shown_s: what the answer's image shows, in seconds of the edited recording; None for all.
        made: the edited recording, where it doesn't consist of parts; the receiver closes it.
        stems: recordings that the answer holds as well, by name; the receiver closes them.
    """

    parts: Sequence[Part] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    shown_s: tuple[float, float] | None = None
    made: Recording | None = None
    stems: Mapping[str, Recording] = field(default_factory=dict)


Work = Callable[[ClipGenerator, ProgressCallback], Edit]
"""Makes an edit. It may take long; what `progress` raises ends it."""


def _init_audio(inputs: InferenceInput) -> tuple[str, ...]:
    return ("init_audio",)


@dataclass(frozen=True)
class Mode:
    """A mode that edits a recording.

    Args:
        plan: checks a request with its recording, and returns the work. Further recordings follow
            the generator.
        check: checks the request without the recording.
        draws: whether a checkpoint draws as the request says, so that prompts, sampling and LoRAs
            must be valid. Other modes check what they use.
        recordings: the fields with the recordings of a request; the answer is like the first one.
        answer_format: audio of the answer's format, where it isn't the first recording's.
    """

    plan: Callable[Concatenate[InferenceInput, Recording, ClipGenerator, ...], Work]
    check: Callable[[InferenceInput], object] = lambda inputs: None
    draws: Callable[[InferenceInput], bool] = lambda inputs: True
    recordings: Callable[[InferenceInput], tuple[str, ...]] = _init_audio
    answer_format: Callable[[ClipGenerator], Pcm] | None = None
