"""Between two clips, and variations of one: clips from noise near the clips' own.

DDIM inversion finds the noise that a clip is made from (`own_noise`). Noise on the great circle
between two clips' noises gives clips between the two; a step from a clip's noise towards random
noise gives a variation of it.

The autoencoder flattens an image's peaks, and amplitudes are its fourth power, so a clip comes back
some dB quieter than it was. Therefore each clip is given the loudness of its recording.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from riffusion.audio.loudness import measure_loudness, normalize_waveform
from riffusion.audio.recording import Recording
from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.arrays import copied_like
from riffusion.diffusion.canvas import column_noise
from riffusion.diffusion.interpolation import slerp
from riffusion.diffusion.stages import ProgressCallback
from riffusion.edit_fields import DEFAULT_AMOUNT, DEFAULT_NUM_CLIPS, MAX_NUM_CLIPS
from riffusion.editing.balance import balance_along, balanced
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.own_noise import (
    Closeness,
    NoiseWay,
    SharedProgress,
    WholeClip,
    check_checkpoint,
    ddim_request,
    finished,
)
from riffusion.editing.regions import check_length
from riffusion.editing.splicing import New, Part
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator, check_prompts

MAX_CLIP_S = 60.0
"""Longest clip."""
MAX_TOTAL_S = 600.0
"""Longest duration of all clips together."""
_LOWEST_LUFS, _HIGHEST_LUFS = -70.0, 0.0
_CEILING_DBTP = 0.0
"""A new peak doesn't clip where one of the recording's was at full scale."""


@dataclass(frozen=True, eq=False)
class Varied:
    """Clips that were made from noise near that of recordings.

    Args:
        clips: the parts of each clip, for `splicing.write_spliced` with the (first) recording. The
            sound is computed when they are written, once.
        closeness: how close each of the recordings comes back from its own noise.
    """

    clips: list[list[Part]]
    closeness: list[Closeness]


def between(
    first: Recording,
    last: Recording,
    generator: ClipGenerator,
    inputs: InferenceInput,
    num_clips: int = DEFAULT_NUM_CLIPS,
    on_progress: ProgressCallback | None = None,
) -> Varied:
    """Clips that lead from one recording to another.

    The first and the last clip are the recordings as they come back from their own noise. All are
    as long as the shorter recording: of the longer one, the start is used.

    Args:
        first, last: the recordings.
        generator: its checkpoint makes the clips.
        inputs: the prompt of its start says what is heard in the first recording, that of its end
            what is heard in the last one (both may be empty), its steps are those of DDIM, and its
            LoRAs are used. Nothing else of it is: the way there and back has no guidance.
        num_clips: number of clips, the first and the last one included.
        on_progress: called with (steps done, number of steps), before the sound is computed.

    Returns:
        Clips of the first recording's sample rate, channels and bits. Their loudness moves from
        that of the first recording to that of the last one, evenly in dB.

    Raises:
        InputError: as `check_between`, or an invalid request.
    """
    check_between(first, last, num_clips)
    request = checked_request(generator, inputs)
    num_frames = min(
        ModelAxis(recording, generator.converter).num_frames for recording in (first, last)
    )
    ends = [WholeClip(recording, generator, num_frames) for recording in (first, last)]
    prompts = (inputs.start.prompt, inputs.end.prompt)
    progress = SharedProgress(len(ends) + num_clips, on_progress)
    there = [
        NoiseWay(end.latents, "to noise", prompt, prompt)
        for end, prompt in zip(ends, prompts, strict=True)
    ]
    noises = finished(generator, request, there, progress)
    shares = [index / (num_clips - 1) for index in range(num_clips)]
    back = [NoiseWay(slerp(share, *noises), "from noise", *prompts, share) for share in shares]
    made = finished(generator, request, back, progress)
    clips = []
    num_samples = common_samples(first, last)
    loudness = [_loudness(each, num_samples / first.sample_rate) for each in (first, last)]
    for share, latents in zip(shares, made, strict=True):
        level = ends[0].level ** (1 - share) * ends[1].level ** share
        mono = ends[0].sound(latents, level, num_samples)
        balance = partial(_balance_between, share, first, last)
        lufs = float(np.interp(share, (0, 1), loudness))
        clips.append(_parts(mono, first, balance, lufs))
    return Varied(clips, [ends[0].closeness(made[0]), ends[1].closeness(made[-1])])


def vary(
    recording: Recording,
    generator: ClipGenerator,
    inputs: InferenceInput,
    amount: float = DEFAULT_AMOUNT,
    count: int = 4,
    on_progress: ProgressCallback | None = None,
) -> Varied:
    """Variations of a recording, of its length.

    Args:
        recording: the recording.
        generator: its checkpoint makes the variations.
        inputs: the prompt of its start says what is heard in the recording (it may be empty), its
            seed gives the first variation's noise and the seeds that follow the others', its steps
            are those of DDIM, and its LoRAs are used. Nothing else of it is: the way there and
            back has no guidance.
        amount: how far the recording's noise moves towards the seed's, from 0 (it comes back as it
            is) to 1 (nothing of it is left).
        count: number of variations.
        on_progress: called with (steps done, number of steps), before the sound is computed.

    Returns:
        Clips of the recording's sample rate, channels, bits and loudness.

    Raises:
        InputError: as `check_vary`, or an invalid request.
    """
    check_vary(recording, amount, count)
    request = checked_request(generator, inputs)
    axis = ModelAxis(recording, generator.converter)
    clip = WholeClip(recording, generator, axis.num_frames)
    prompts = (inputs.start.prompt, inputs.start.prompt)
    progress = SharedProgress(2 + count, on_progress)
    there = [NoiseWay(clip.latents, "to noise", *prompts)]
    (noise,) = finished(generator, request, there, progress)
    seeds = range(inputs.start.seed, inputs.start.seed + count)
    numbers = generator.pipeline.numbers
    drawn = [column_noise(numbers, seed % 2**63, 0, tuple(noise.shape)) for seed in seeds]
    others = [slerp(amount, noise, copied_like(each, noise)) for each in drawn]
    back = [NoiseWay(each, "from noise", *prompts) for each in (noise, *others)]
    own, *made = finished(generator, request, back, progress)
    balance = partial(balance_along, recording)
    lufs = _loudness(recording, recording.duration_s)
    clips = [
        _parts(clip.sound(latents, clip.level, recording.num_samples), recording, balance, lufs)
        for latents in made
    ]
    return Varied(clips, [clip.closeness(own)])


def check_between(first: Recording, last: Recording, num_clips: int) -> None:
    """Check what `between` is asked for before the work begins.

    Raises:
        InputError: a recording is too short, both are too long, or the number of clips is out of
            range.
    """
    if not 2 <= num_clips <= MAX_NUM_CLIPS:
        raise InputError(f"{num_clips} must be from 2 to {MAX_NUM_CLIPS} clips", "num_clips")
    for recording in (first, last):
        check_length(recording)
    _check_duration(min(first.duration_s, last.duration_s), num_clips, "num_clips")


def check_vary(recording: Recording, amount: float, count: int) -> None:
    """Check what `vary` is asked for before the work begins.

    Raises:
        InputError: the recording is too short or too long, or a number is out of range.
    """
    if not 0 <= amount <= 1:  # NaN fails, too
        raise InputError(f"{amount:g} must be from 0 to 1", "amount")
    if not 1 <= count <= MAX_NUM_CLIPS:
        raise InputError(f"{count} must be from 1 to {MAX_NUM_CLIPS}", "count")
    check_length(recording)
    _check_duration(recording.duration_s, count, "count")


def checked_request(generator: ClipGenerator, inputs: InferenceInput) -> InferenceInput:
    """The request for all canvases of `between` or `vary`.

    Raises:
        InputError: a prompt's weight or the steps are out of range, the checkpoint can't be sampled
            by DDIM, or a LoRA is unknown or can't be used.
    """
    check_prompts(inputs)
    request = ddim_request(inputs)
    check_checkpoint(generator)
    generator.pipeline.check_loras(request)
    return request


def common_samples(first: Recording, last: Recording) -> int:
    """Length of the shorter of two recordings, in samples at the first one's rate."""
    return min(first.num_samples, last.num_samples * first.sample_rate // last.sample_rate)


def _check_duration(duration_s: float, number: int, field: str) -> None:
    if duration_s > MAX_CLIP_S:
        raise InputError(
            f"the clips would last {duration_s:.3f} s each, at most {MAX_CLIP_S:g} s are allowed; "
            "cut a part out of the recording"
        )
    if number * duration_s > MAX_TOTAL_S:
        raise InputError(
            f"{number} clips of {duration_s:.2f} s last longer than {MAX_TOTAL_S:g} s together; "
            "ask for fewer",
            field,
        )


def _loudness(recording: Recording, duration_s: float) -> float:
    """Loudness in LUFS of the first seconds of a recording; -inf for silence."""
    stop = round(duration_s * recording.sample_rate)
    return measure_loudness(recording.waveform(0, stop), recording.sample_rate)


def _parts(
    mono: Iterator[Waveform],
    recording: Recording,
    balance: Callable[[int, int], Waveform],
    lufs: float,
) -> list[Part]:
    """A clip with a balance of its channels and a loudness; without one, as loud as it is made."""

    def made() -> Iterator[Waveform]:
        clip = np.concatenate(list(balanced(mono, recording.num_channels, balance)), axis=1)
        if math.isfinite(lufs):
            target = min(max(lufs, _LOWEST_LUFS), _HIGHEST_LUFS)
            clip = normalize_waveform(clip, recording.sample_rate, target, _CEILING_DBTP)
        yield clip

    return [New(made())]


def _balance_between(
    share: float, first: Recording, last: Recording, start: int, stop: int
) -> Waveform:
    """Levels of the first recording's channels on the way to the last one's."""
    at_first = balance_along(first, start, stop)
    at_last = np.ones_like(at_first)
    if last.num_channels == first.num_channels:
        at_last = balance_along(last, start, stop, first.sample_rate)
    return at_first + np.float32(share) * (at_last - at_first)
