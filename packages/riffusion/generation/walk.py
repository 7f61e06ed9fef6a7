"""The jam's way through prompts and seeds.

A walk goes from one end, a prompt and a seed, to the next. Each clip lies `alpha` of the way
between them, and the next clip one step further. Where a step reaches or passes the end, the walk
arrives: the end becomes the start of the next stretch, and what the step had left counts there.
The next end is the first queued prompt, or the same prompt if there is none; its seed is one more.

    church bells, 7 ──0.25──0.5──0.75── church bells, 8 ──0.25── … ── jazz trio, 9

States are values: a step returns a new one. The web app follows the same rules, in
web/src/walk/walk.ts; both are tested by tests/generation/walk_cases.json.
"""

from dataclasses import dataclass, replace
from typing import Self

from riffusion.errors import InputError

SEED_LIMIT = 2**63
_TOLERANCE = 1e-9
"""Steps such as 0.1 don't add up to 1 exactly."""


@dataclass(frozen=True)
class End:
    """A place that can be heard: the same prompt and seed are always the same clip."""

    prompt: str
    seed: int


@dataclass(frozen=True)
class Stop:
    """What one clip is made of: `alpha` of the way from `start` to `end`."""

    start: End
    end: End
    alpha: float


@dataclass(frozen=True)
class Walk:
    """A walk before its next clip.

    Args:
        current: the end that it comes from.
        target: the end that it goes to.
        alpha: of the next clip, in [0, 1).
        queue: prompts to come, the next one first.
        seed_limit: seeds stay below it; the one after the last is 0.
    """

    current: End
    target: End
    alpha: float = 0.0
    queue: tuple[str, ...] = ()
    seed_limit: int = SEED_LIMIT

    @classmethod
    def start(
        cls, prompt: str, seed: int, queue: tuple[str, ...] = (), seed_limit: int = SEED_LIMIT
    ) -> Self:
        """A walk at its first clip."""
        current = End(prompt, seed)
        return cls(current, _next_end(current, prompt, seed_limit), 0.0, queue, seed_limit)

    @property
    def is_free(self) -> bool:
        """Whether a queued prompt takes effect at once: the way to the next seed has not begun."""
        return self.alpha == 0 and self.target.prompt == self.current.prompt

    def step(self, alpha_step: float) -> tuple[Stop, "Walk"]:
        """The next clip, and the walk after it.

        Raises:
            InputError: `alpha_step` is not in (0, 1].
        """
        if not 0 < alpha_step <= 1:
            raise InputError(f"alpha_step={alpha_step} must be over 0 and at most 1")
        here = self._turned_to_queue()
        stop = Stop(here.current, here.target, here.alpha)
        alpha = here.alpha + alpha_step
        if alpha < 1 - _TOLERANCE:
            return stop, replace(here, alpha=alpha)
        left = alpha - 1
        return stop, here._arrived(left if left > _TOLERANCE else 0.0)

    def with_queue(self, queue: tuple[str, ...]) -> "Walk":
        """The same walk with other prompts to come."""
        return replace(self, queue=queue)

    def jump(self, prompt: str) -> "Walk":
        """Go to `prompt` with the very next clip, without a way there."""
        current = End(prompt, self.target.seed)
        target = _next_end(current, prompt, self.seed_limit)
        return replace(self, current=current, target=target, alpha=0.0)

    def _turned_to_queue(self) -> "Walk":
        if not self.queue or not self.is_free:
            return self
        target = _next_end(self.current, self.queue[0], self.seed_limit)
        return replace(self, target=target, queue=self.queue[1:])

    def _arrived(self, alpha: float) -> "Walk":
        prompt = self.queue[0] if self.queue else self.target.prompt
        target = _next_end(self.target, prompt, self.seed_limit)
        return replace(self, current=self.target, target=target, alpha=alpha, queue=self.queue[1:])


def _next_end(origin: End, prompt: str, seed_limit: int) -> End:
    return End(prompt, origin.seed + 1 if origin.seed + 1 < seed_limit else 0)
