"""Restyle: a whole recording regenerated from texts along the way; its beat and length stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from riffusion.audio.recording import Recording
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.magic_mix import MagicMix
from riffusion.diffusion.prompt_weights import parse_prompt_weights
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.balance import balance_along, balanced
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.regions import check_length
from riffusion.editing.remaking import BEATS_COURSE, PromptAtFrame, remade
from riffusion.editing.splicing import New, Part
from riffusion.editing.surroundings import Section
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator


@dataclass(frozen=True)
class PromptAtTime:
    """A prompt that is reached at a time of the recording, in seconds."""

    at_s: float
    prompt: str


def restyle(
    recording: Recording,
    generator: ClipGenerator,
    inputs: InferenceInput,
    prompts_at: Sequence[PromptAtTime] = (),
    on_progress: ProgressCallback | None = None,
    mix: MagicMix | None = None,
) -> list[Part]:
    """Regenerate a recording: the less denoising, the more of it stays.

    Args:
        recording: the recording.
        generator: its checkpoint makes it.
        inputs: the first prompt, seed, negative prompt, denoising, guidance, scheduler and steps,
            of its start.
        prompts_at: further prompts; between two of them, the music moves from one to the other.
        on_progress: called with (steps done, number of steps), before the sound is computed.
        mix: mix the recording in along the way, in place of the denoising.

    Returns:
        Parts for `splicing.write_spliced`, which computes the sound.

    Raises:
        InputError: as `check_prompts_at`, or an invalid request.
    """
    check_prompts_at(recording, prompts_at)
    generator.check(inputs)
    if mix is not None:
        start = inputs.start.model_copy(update={"denoising": mix.high})
        inputs = inputs.model_copy(update={"start": start, "end": start})
    axis = ModelAxis(recording, generator.converter)
    points = {0.0: inputs.start.prompt, **{point.at_s: point.prompt for point in prompts_at}}
    frames_per_s = axis.params.sample_rate / axis.params.hop_length
    prompts = [PromptAtFrame(at_s * frames_per_s, points[at_s]) for at_s in sorted(points)]
    whole = Section(0, axis.num_frames, continues_before=False, continues_after=False)
    course = BEATS_COURSE if mix is None else 0.0  # a mix keeps the layout, and the beat with it
    made = remade(axis, generator, inputs, prompts, whole, on_progress, mix, course)
    mono = axis.at_recordings_rate(made, 0, 0, recording.num_samples)
    return [New(balanced(mono, recording.num_channels, partial(balance_along, recording)))]


def check_prompts_at(recording: Recording, prompts_at: Sequence[PromptAtTime]) -> None:
    """Check further prompts before the work begins.

    Raises:
        InputError: a time outside the recording, two prompts at one time, or a weight out of range;
            or the recording is too short.
    """
    check_length(recording)
    times: set[float] = set()
    for point in prompts_at:
        if not 0 < point.at_s <= recording.duration_s:  # NaN fails, too
            raise InputError(
                f"{point.at_s:g} must be a time inside the recording, over 0 (the first prompt"
                f"'s time) and up to {recording.duration_s:.3f} s",
                "prompts_at",
            )
        if point.at_s in times:
            raise InputError(
                f"{point.at_s:g} s has two prompts; give each another time", "prompts_at"
            )
        times.add(point.at_s)
        try:
            parse_prompt_weights(point.prompt)
        except InputError as error:
            raise InputError(str(error), "prompts_at") from None
