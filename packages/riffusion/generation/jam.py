"""The endless jam, as a piece of a given length: a walk whose clips follow without a gap.

    Jam ──stops──▶ request of each ──▶ clip, a loop ──▶ its part of the piece, as long as the clip

The web app plays the same clips; here the prompts that a person would queue come evenly over time.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from riffusion.audio import AudioSegment, take_over
from riffusion.datatypes import InferenceInput
from riffusion.errors import InputError
from riffusion.generation.generator import Clip, ResolvedInput
from riffusion.generation.walk import SEED_LIMIT, Stop, Walk

MAX_MINUTES = 24 * 60
TAKE_OVER_S = 0.008
"""Fade from loop to loop, as long as the web app's: against clicks, too short to be heard."""
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Jam:
    """What is to be played.

    Args:
        prompts: at least one; the first is where the walk starts, the others are reached evenly
            over the time, the second of four after a quarter of it.
        seed: of the first clip, in [0, 2^63).
        alpha_step: from clip to clip, over 0 and at most 1.
        minutes: of the piece, rounded up to whole clips.

    Raises:
        InputError: a value out of range.
    """

    prompts: tuple[str, ...]
    seed: int
    alpha_step: float = 0.25
    minutes: float = 3.0

    def __post_init__(self) -> None:
        if not self.prompts:
            raise InputError("give at least one", field="prompt")
        if not 0 <= self.seed < SEED_LIMIT:
            raise InputError(f"{self.seed} must be from 0 to 2^63 - 1", field="seed")
        if not 0 < self.alpha_step <= 1:
            raise InputError(f"{self.alpha_step} must be over 0 and at most 1", field="alpha_step")
        if not 0 < self.minutes <= MAX_MINUTES:
            raise InputError(
                f"{self.minutes} must be over 0 and at most {MAX_MINUTES}", field="minutes"
            )

    def num_clips(self, clip_duration_s: float) -> int:
        """How many clips the piece has.

        Raises:
            InputError: they are too few to reach every prompt.
        """
        num_clips = math.ceil(60 * self.minutes / clip_duration_s - _TOLERANCE)
        needed = math.ceil(len(self.prompts) / self.alpha_step - _TOLERANCE)
        if len(self.prompts) > 1 and num_clips < needed:
            shortest = math.ceil(100 * needed * clip_duration_s / 60) / 100
            raise InputError(
                f"{self.minutes:g} are too short for {len(self.prompts)} prompts, which take "
                f"{needed} clips of {clip_duration_s:g} s at alpha step {self.alpha_step:g}; "
                f"give {shortest:g} or more, or a larger alpha step",
                field="minutes",
            )
        return num_clips

    def stops(self, num_clips: int) -> Iterator[Stop]:
        """The walk's stops, one a clip.

        A prompt is queued as late as lets the walk reach it in time.
        """
        num_ends = num_clips * self.alpha_step
        arrivals = deque(
            (prompt, math.floor(index * num_ends / len(self.prompts) + 0.5))
            for index, prompt in enumerate(self.prompts)
            if index > 0
        )
        walk = Walk.start(self.prompts[0], self.seed)
        for _ in range(num_clips):
            num_passed = (walk.current.seed - self.seed) % SEED_LIMIT  # each end is one seed on
            next_arrival = num_passed + (1 if walk.is_free else 2)
            if arrivals and not walk.queue and next_arrival >= arrivals[0][1]:
                walk = walk.with_queue((arrivals.popleft()[0],))
            stop, walk = walk.step(self.alpha_step)
            yield stop


@dataclass(frozen=True)
class JamPart:
    """A clip in its place.

    Args:
        stop: where on the walk it is.
        clip: alone.
        segment: what is heard of it, as long as the clip: the one before fades out over its start.
    """

    stop: Stop
    clip: Clip
    segment: AudioSegment


def play(
    stops: Iterable[Stop],
    resolved: ResolvedInput,
    make: Callable[[ResolvedInput], Clip],
) -> Iterator[JamPart]:
    """The parts of a jam, made as they are asked for. Joined, they are the piece.

    Args:
        resolved: every clip's request but for prompts, seeds and alpha.
        make: makes a clip.
    """
    previous: AudioSegment | None = None
    for stop in stops:
        clip = make(replace(resolved, inputs=request_at(stop, resolved.inputs)))
        segment = clip.segment
        if previous is not None:
            fade_s = min(TAKE_OVER_S, previous.frame_count() / previous.frame_rate)
            segment = take_over(previous, segment, fade_s)
        yield JamPart(stop, clip, segment)
        previous = clip.segment


def request_at(stop: Stop, template: InferenceInput) -> InferenceInput:
    """The request for a stop's clip; all but prompts, seeds and alpha is the template's."""
    start, end = (
        settings.model_copy(update={"prompt": place.prompt, "seed": place.seed})
        for settings, place in ((template.start, stop.start), (template.end, stop.end))
    )
    return template.model_copy(update={"start": start, "end": end, "alpha": stop.alpha})
