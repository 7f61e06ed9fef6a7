"""The spans of one clip: `predict`, and below it one per stage.

Stages are measured anyway, so their spans are made when the clip has ended: the engine's thread
records nothing. `diffusion` is one span with the number of steps, not one per UNet call.
"""

import time
from collections.abc import Mapping

from riffusion.datatypes import InferenceInput
from riffusion.serving.request_id import current_request_id
from riffusion.serving.tracing import (
    current_traceparent,
    end_span,
    start_span,
    traceparent_of,
)

_NS_PER_S = 1_000_000_000


class ClipTrace:
    """The spans of a request, which begins now."""

    def __init__(self) -> None:
        self._span = start_span("predict", current_traceparent.get(), is_server=True)
        self._received_ns = self._drawn_ns = time.time_ns()
        self._resolved_ns: int | None = None
        self._num_draws = 0

    def start_draw(self) -> None:
        """The request is resolved, and the clip begins, or is drawn again."""
        self._drawn_ns = time.time_ns()
        self._resolved_ns = self._resolved_ns or self._drawn_ns
        self._num_draws += 1

    def end(
        self, inputs: InferenceInput, outcome: str, timings_s: Mapping[str, float], num_steps: int
    ) -> None:
        """The clip is done, or won't be.

        Args:
            inputs: the request.
            outcome: as in the log.
            timings_s: seconds of the last draw's stages, in their order and without gaps.
            num_steps: denoising steps that were made.
        """
        if self._span is None:
            return
        parent = traceparent_of(self._span)
        if self._resolved_ns is not None:
            _stage("resolve", parent, self._received_ns, self._resolved_ns, {})
        begun_ns = self._drawn_ns
        for stage, seconds in timings_s.items():
            ended_ns = begun_ns + round(seconds * _NS_PER_S)
            facts = {"riffusion.steps": num_steps} if stage == "diffusion" else {}
            _stage(stage, parent, begun_ns, ended_ns, facts)
            begun_ns = ended_ns
        attributes: dict[str, str | int | float] = {
            "riffusion.request_id": current_request_id.get() or "",
            "riffusion.mode": inputs.mode,
            "riffusion.outcome": outcome,
            "riffusion.draws": self._num_draws,
        }
        end_span(self._span, attributes, has_failed=outcome == "failed")


def _stage(name: str, parent: str, start_ns: int, end_ns: int, facts: Mapping[str, int]) -> None:
    end_span(start_span(name, parent, start_ns=start_ns), facts, end_ns=end_ns)
