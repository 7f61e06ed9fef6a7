"""The jam's path through prompts and seeds.

A walk goes from one end, which is a prompt and a seed, to the next. Each clip is at the fraction
`alpha` of the way between two ends, and the next clip is one step further. When a step reaches or
passes the end, that end becomes the start of the next stretch, and the rest of the step counts
there. The next end has the first queued prompt, or the same prompt if the queue is empty; its seed
is one higher.

    church bells, 7 ──0.25──0.5──0.75── church bells, 8 ──0.25── … ── jazz trio, 9

A walk is immutable: a step returns a new one. The web app follows the same rules, in
web/src/walk/walk.ts; both are tested by tests/generation/walk_cases.json.
"""

from dataclasses import dataclass, replace
from typing import Self

from riffusion.errors import InputError

SEED_LIMIT = 2**63
_TOLERANCE = 1e-9
"""For steps such as 0.1, which don't add up to exactly 1."""


@dataclass(frozen=True)
class End:
    """A prompt and a seed. The same prompt and seed always give the same clip."""

    prompt: str
    seed: int


@dataclass(frozen=True)
class Stop:
    """The position of one clip: `alpha` of the way from `start` to `end`."""

    start: End
    end: End
    alpha: float


@dataclass(frozen=True)
class Walk:
    """A walk before its next clip.

    Args:
        current: the end at which the current stretch starts.
        target: the end to which it leads.
        alpha: position of the next clip on the stretch, in [0, 1).
        queue: prompts to come, the next one first.
        seed_limit: seeds stay below this limit; the seed after the last one is 0.
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
        """A walk before its first clip."""
        current = End(prompt, seed)
        return cls(current, _next_end(current, prompt, seed_limit), 0.0, queue, seed_limit)

    @property
    def is_free(self) -> bool:
        """Whether a queued prompt takes effect now: the path to the next seed has not begun."""
        return self.alpha == 0 and self.target.prompt == self.current.prompt

    def step(self, alpha_step: float) -> tuple[Stop, "Walk"]:
        """The position of the next clip, and the walk after it.

        Raises:
            InputError: `alpha_step` is not in (0, 1].
        """
        if not 0 < alpha_step <= 1:
            raise InputError(f"alpha_step={alpha_step} must be over 0 and at most 1")
        here = self._with_queued_target()
        stop = Stop(here.current, here.target, here.alpha)
        alpha = here.alpha + alpha_step
        if alpha < 1 - _TOLERANCE:
            return stop, replace(here, alpha=alpha)
        left = alpha - 1
        return stop, here._arrived(left if left > _TOLERANCE else 0.0)

    def with_queue(self, queue: tuple[str, ...]) -> "Walk":
        """The same walk with another queue."""
        return replace(self, queue=queue)

    def jump(self, prompt: str) -> "Walk":
        """The walk that continues at `prompt` with the next clip, without a transition."""
        current = End(prompt, self.target.seed)
        target = _next_end(current, prompt, self.seed_limit)
        return replace(self, current=current, target=target, alpha=0.0)

    def _with_queued_target(self) -> "Walk":
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
