"""A jam: a piece of a given length, whose clips follow a walk and join without a gap.

    Jam ──stops──▶ one request per stop ──▶ a clip, which is a loop ──▶ a part as long as the clip

The web app plays the same clips without an end. There a person queues prompts; here they are spaced
evenly over the length.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from riffusion.audio import Audio, take_over
from riffusion.datatypes import InferenceInput
from riffusion.errors import InputError
from riffusion.generation.generator import Clip, ResolvedInput
from riffusion.generation.walk import SEED_LIMIT, Stop, Walk

MAX_MINUTES = 24 * 60
TAKE_OVER_S = 0.008
"""Crossfade between loops, as in the web app; it prevents clicks and is too short to be heard."""
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Jam:
    """The settings of a jam.

    Args:
        prompts: at least one. The walk starts at the first; the others are spaced evenly over the
            length, so the second of four is reached after a quarter of it.
        seed: seed of the first clip, in [0, 2^63).
        alpha_step: how far each clip moves towards the next seed, over 0 and at most 1.
        minutes: length of the piece, rounded up to whole clips.

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
        """Number of clips in the piece.

        Raises:
            InputError: the piece is too short to reach every prompt.
        """
        num_clips = math.ceil(60 * self.minutes / clip_duration_s - _TOLERANCE)
        needed = math.ceil(len(self.prompts) / self.alpha_step - _TOLERANCE)
        if len(self.prompts) > 1 and num_clips < needed:
            shortest = math.ceil(100 * needed * clip_duration_s / 60) / 100
            raise InputError(
                f"{self.minutes:g} is too short for {len(self.prompts)} prompts, which take "
                f"{needed} clips of {clip_duration_s:g} s at alpha step {self.alpha_step:g}; "
                f"give {shortest:g} or more, or a larger alpha step",
                field="minutes",
            )
        return num_clips

    def stops(self, num_clips: int) -> Iterator[Stop]:
        """The walk's stops, one per clip.

        Each prompt is queued as late as possible so that the walk still reaches it in time.
        """
        num_ends = num_clips * self.alpha_step
        arrivals = deque(
            (prompt, math.floor(index * num_ends / len(self.prompts) + 0.5))
            for index, prompt in enumerate(self.prompts)
            if index > 0
        )
        walk = Walk.start(self.prompts[0], self.seed)
        for _ in range(num_clips):
            # Each end has a seed that is one higher.
            num_passed = (walk.current.seed - self.seed) % SEED_LIMIT
            next_arrival = num_passed + (1 if walk.is_free else 2)
            if arrivals and not walk.queue and next_arrival >= arrivals[0][1]:
                walk = walk.with_queue((arrivals.popleft()[0],))
            stop, walk = walk.step(self.alpha_step)
            yield stop


@dataclass(frozen=True)
class JamPart:
    """A clip's part of the piece.

    Args:
        stop: the clip's position on the walk.
        clip: the clip alone.
        audio: the clip with the previous clip fading out over its start; as long as the clip.
    """

    stop: Stop
    clip: Clip
    audio: Audio


def play(
    stops: Iterable[Stop],
    resolved: ResolvedInput,
    make: Callable[[ResolvedInput], Clip],
) -> Iterator[JamPart]:
    """Make the parts of a jam one by one; joined, they are the piece.

    Args:
        stops: the walk's stops, one per clip.
        resolved: a request for all clips; prompts, seeds and alpha are replaced.
        make: makes a clip.
    """
    previous: Audio | None = None
    for stop in stops:
        clip = make(replace(resolved, inputs=request_at(stop, resolved.inputs)))
        audio = clip.audio
        if previous is not None:
            audio = take_over(previous, audio, min(TAKE_OVER_S, previous.duration_s))
        yield JamPart(stop, clip, audio)
        previous = clip.audio


def request_at(stop: Stop, template: InferenceInput) -> InferenceInput:
    """The request for a stop's clip: the template with the stop's prompts, seeds and alpha."""
    start, end = (
        settings.model_copy(update={"prompt": point.prompt, "seed": point.seed})
        for settings, point in ((template.start, stop.start), (template.end, stop.end))
    )
    return template.model_copy(update={"start": start, "end": end, "alpha": stop.alpha})
