"""Draws until a clip keeps its promise, a few times at most."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from riffusion.datatypes import InferenceInput, PromptInput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.generation.generator import Clip, ClipGenerator, ResolvedInput
from riffusion.generation.media import Media
from riffusion.promises.fitting import FittedClip, fitted
from riffusion.promises.hearing import is_in_key, is_in_tempo, tempo_error_percent
from riffusion.promises.promise import Promise, check_promise, has_promise
from riffusion.promises.seed_loop import with_seed_loop

MAX_DRAWS = 3
_CLOSER = 0.8
"""Each further draw stays closer to the seed loop: its denoising is 0.8 times the one before, if
the request leaves it open. From 0.75 that is 0.6 and 0.48."""


@dataclass(frozen=True)
class PromisedInput:
    """A resolved request, and its promise if it has one."""

    resolved: ResolvedInput
    promise: Promise | None = None

    @property
    def duration_s(self) -> float | None:
        """Length of the clip in seconds, if its promise or its init image decides it."""
        return self.promise.duration_s if self.promise else self.resolved.init_duration_s


@dataclass(frozen=True)
class PromisedClip:
    """A clip, and what is heard in it if something was promised.

    Args:
        clip: the clip.
        promise: what was promised; None if nothing was.
        fit: how the clip was put right; None if nothing was promised.
        num_draws: how often it was drawn.
    """

    clip: Clip
    promise: Promise | None = None
    fit: FittedClip | None = None
    num_draws: int = 1

    @property
    def tempo_error_percent(self) -> float | None:
        """How far the heard tempo is from the promised one; None if no beat is heard."""
        if self.promise is None or self.fit is None:
            return None
        return tempo_error_percent(self.fit.hearing, self.promise.tempo_bpm)


def resolve(
    generator: ClipGenerator, inputs: InferenceInput, media: Media | None = None
) -> PromisedInput:
    """Resolve a request, and make the seed loop of its promise.

    Args:
        generator: resolves it.
        inputs: the request.
        media: media that are decoded already, in place of the request's.

    Raises:
        InputError: the request can't be resolved, or its promise can't be made; `field` names the
            request's field.
        OverloadedError: the decoder has no time for the request's audio.
    """
    check_promise(inputs)
    resolved = generator.resolve(inputs, media)
    if not has_promise(inputs):
        return PromisedInput(resolved)
    return PromisedInput(*with_seed_loop(generator, resolved, media))


class Draws:
    """The draws of a request.

    Args:
        first: the request.

    Attributes:
        resolved: what to draw next.
        num_draws: how often it was drawn.
    """

    def __init__(self, first: PromisedInput) -> None:
        self.first = first
        self.resolved = first.resolved
        self.num_draws = 0
        self._best: PromisedClip | None = None

    @property
    def inputs(self) -> InferenceInput:
        """The request, as it was made."""
        return self.first.resolved.inputs

    def add(self, generator: ClipGenerator, clip: Clip) -> PromisedClip | None:
        """Add a drawn clip; returns the best one, or None if `resolved` is to be drawn, too.

        Without a promise, the first clip is the best one, as it is.
        """
        self.num_draws += 1
        new = fitted_once(generator, self.first, clip)
        if self._best is None or _rank(new) > _rank(self._best):
            self._best = new
        if is_kept(new) or self.num_draws == MAX_DRAWS:
            return dataclasses.replace(self._best, num_draws=self.num_draws)
        again = _drawn_again(self.inputs, self.num_draws)
        self.resolved = dataclasses.replace(self.first.resolved, inputs=again)
        return None


def generate(
    generator: ClipGenerator,
    promised: PromisedInput,
    on_progress: ProgressCallback | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> PromisedClip:
    """Make a clip, and draw it again if it doesn't keep its promise.

    Args:
        generator: draws.
        promised: what `resolve` returned.
        on_progress: called with (steps done, total steps) of each draw.
        should_stop: called after every step; True cancels the clip.

    Raises:
        GenerationCancelled: `should_stop` returned True.
    """
    draws = Draws(promised)
    made = None
    while made is None:
        made = draws.add(generator, generator.generate(draws.resolved, on_progress, should_stop))
    return made


def fitted_once(generator: ClipGenerator, promised: PromisedInput, clip: Clip) -> PromisedClip:
    """A drawn clip, put right if something was promised; else as it is."""
    if promised.promise is None:
        return PromisedClip(clip)
    fit = fitted(generator, clip, promised.promise)
    return PromisedClip(fit.clip, promised.promise, fit)


def is_kept(made: PromisedClip) -> bool:
    """Whether everything that was promised is heard."""
    return all(_kept(made))


def _kept(made: PromisedClip) -> list[bool]:
    promise, fit = made.promise, made.fit
    if promise is None or fit is None:
        return []
    kept = []
    if promise.tempo_bpm is not None:
        kept.append(is_in_tempo(fit.hearing, promise.tempo_bpm))
    if promise.key is not None:
        kept.append(is_in_key(fit.hearing, promise.key))
    return kept


def _rank(made: PromisedClip) -> tuple[int, float]:
    """The more, the better: promises kept, then how surely the tempo is heard."""
    return sum(_kept(made)), made.fit.hearing.tempo_certainty if made.fit else 0.0


def _drawn_again(inputs: InferenceInput, num_draws: int) -> InferenceInput:
    """The request with other seeds, which follow from its own."""

    def other(end: PromptInput) -> PromptInput:
        state = np.random.SeedSequence([end.seed, num_draws]).generate_state(1, np.uint64)
        update: dict[str, object] = {"seed": int(state[0] >> np.uint64(1))}
        if "denoising" not in end.model_fields_set:
            update["denoising"] = end.denoising * _CLOSER**num_draws
        return end.model_copy(update=update)

    return inputs.model_copy(update={"start": other(inputs.start), "end": other(inputs.end)})
