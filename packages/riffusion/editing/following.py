"""Follow: a melody played by the sound that a text asks for.

melody ─▶ harmonic tones ─▶ mel amplitudes ─▶ canvas, denoised in part ─▶ sound
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.melody import Melody, sound_of
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.pitch_tracking import Agreement, is_tracking_installed, pitch_agreement
from riffusion.editing.remaking import PromptAtFrame, remade
from riffusion.editing.sound import SoundInMemory
from riffusion.editing.surroundings import Section
from riffusion.generation.generator import ClipGenerator

DENOISINGS = (0.5, 0.45, 0.4)
"""Tried one after the other, if none is asked for, until the pitches agree."""
LEAST_AGREEMENT = 0.8


@dataclass(frozen=True, eq=False)
class Followed:
    """A melody with another sound.

    Args:
        waveform: (1, samples) at the rate of the generator's converter, as long as the melody.
        denoising: how much of it was drawn.
        agreement: how far its pitches agree; None if they can't be tracked here.
    """

    waveform: Waveform
    denoising: float
    agreement: Agreement | None


def follow(
    melody: Melody,
    generator: ClipGenerator,
    inputs: InferenceInput,
    on_progress: ProgressCallback | None = None,
) -> Iterator[Waveform]:
    """Play a melody. The diffusion runs before the first part comes.

    Args:
        melody: any length up to its own limit.
        generator: its checkpoint plays.
        inputs: prompt, seed, negative prompt, denoising, guidance, scheduler and steps, of its
            start. The less denoising, the more exactly the pitches are kept.
        on_progress: called with (steps done, number of steps); what it raises ends the work.

    Yields:
        (1, samples) at the rate of the generator's converter, as long as the melody in whole
        frames.

    Raises:
        InputError: an invalid request, or a checkpoint in stereo.
    """
    return _played(_axis_of(melody, generator), generator, inputs, on_progress)


def _axis_of(melody: Melody, generator: ClipGenerator) -> ModelAxis:
    return ModelAxis(SoundInMemory(sound_of(melody, generator.check_wanted)), generator.converter)


def _played(
    axis: ModelAxis,
    generator: ClipGenerator,
    inputs: InferenceInput,
    on_progress: ProgressCallback | None,
) -> Iterator[Waveform]:
    """As `follow`, for a melody that sounds already."""
    generator.check(inputs)
    whole = Section(0, axis.num_frames, continues_before=False, continues_after=False)
    prompts = [PromptAtFrame(0, inputs.start.prompt)]
    return remade(axis, generator, inputs, prompts, whole, on_progress)


def follow_closely(
    melody: Melody,
    generator: ClipGenerator,
    inputs: InferenceInput,
    denoisings: Sequence[float] = DENOISINGS,
    on_progress: ProgressCallback | None = None,
    on_draw: Callable[[Followed], None] | None = None,
) -> Followed:
    """Play a melody, again with the next denoising until `LEAST_AGREEMENT` of the pitches agree.

    Without librosa, which tracks them, it is played once.

    Args:
        melody, generator, inputs: see `follow`.
        denoisings: at least one.
        on_progress: called with (steps done, number of steps) of each draw.
        on_draw: called with each draw.

    Returns:
        The draw whose pitches agree best.

    Raises:
        InputError: as `follow`.
    """
    axis = _axis_of(melody, generator)
    draws: list[Followed] = []
    for denoising in denoisings:
        start = inputs.start.model_copy(update={"denoising": denoising})
        request = inputs.model_copy(update={"start": start, "end": start})
        drawn = _compared(melody, _played(axis, generator, request, on_progress), axis, denoising)
        draws.append(drawn)
        if on_draw is not None:
            on_draw(drawn)
        if drawn.agreement is None or drawn.agreement.share >= LEAST_AGREEMENT:
            break
    return max(draws, key=lambda draw: 0.0 if draw.agreement is None else draw.agreement.share)


def _compared(
    melody: Melody, parts: Iterator[Waveform], axis: ModelAxis, denoising: float
) -> Followed:
    """A draw as long as the melody, and how far its pitches agree."""
    rate = axis.params.sample_rate
    waveform = np.zeros((1, round(melody.duration_s * rate)), np.float32)
    at = 0
    for made in parts:
        part = waveform[:, at : at + made.shape[1]]  # shorter at the end
        part[:] = made[:, : part.shape[1]]
        at += made.shape[1]
    agreement = pitch_agreement(melody, waveform, rate) if is_tracking_installed() else None
    return Followed(waveform, denoising, agreement)
