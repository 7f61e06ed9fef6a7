"""What each mode of a request does to a recording: the same functions as the commands.

A mode is an entry of `MODES`: a function that checks what a request asks of its recording and
returns the work. The editor opens the recording before, and turns the result into an answer.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from riffusion.audio.recording import Recording
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.edit_fields import DEFAULT_AFTER_S, DEFAULT_AMOUNT, DEFAULT_NUM_CLIPS
from riffusion.editing.bars import find_bar
from riffusion.editing.beat_grid import BeatGrid
from riffusion.editing.extending import check_extension, extend
from riffusion.editing.limits import check_result
from riffusion.editing.looping import DEFAULT_BEATS, check_loop, cut_out_loop
from riffusion.editing.melody_mode import FOLLOW
from riffusion.editing.mode import Edit, Mode, Work
from riffusion.editing.own_noise import check_solver_steps
from riffusion.editing.pieces import joined, sound_of
from riffusion.editing.progress import counted
from riffusion.editing.regions import Region, check_length
from riffusion.editing.repainting import check_band, repaint
from riffusion.editing.restyling import PromptAtTime, check_prompts_at, restyle
from riffusion.editing.retiming import check_retiming, plan_retiming, retimed
from riffusion.editing.splicing import New
from riffusion.editing.stem_modes import REMIX, STEMS
from riffusion.editing.varying import (
    Varied,
    between,
    check_between,
    check_vary,
    checked_request,
    common_samples,
    vary,
)
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator


def _plan_repaint(inputs: InferenceInput, recording: Recording, generator: ClipGenerator) -> Work:
    region = _region(inputs)
    with _inside_region():
        start, stop = region.samples_of(recording)
        check_band(generator.converter.p, region)
    shown = start / recording.sample_rate, stop / recording.sample_rate

    def work(generator: ClipGenerator, progress: ProgressCallback) -> Edit:
        return Edit(repaint(recording, generator, inputs, region, progress), shown_s=shown)

    return work


def _plan_restyle(inputs: InferenceInput, recording: Recording, generator: ClipGenerator) -> Work:
    points = [PromptAtTime(point.at_s, point.prompt) for point in inputs.prompts_at]
    check_prompts_at(recording, points)

    def work(generator: ClipGenerator, progress: ProgressCallback) -> Edit:
        return Edit(restyle(recording, generator, inputs, points, progress))

    return work


def _plan_extend(inputs: InferenceInput, recording: Recording, generator: ClipGenerator) -> Work:
    check_length(recording)
    after_s, before_s = _extension_s(inputs)
    name = "before_s" if before_s > after_s else "after_s"
    check_result(recording, recording.duration_s + after_s + before_s, name)

    def work(generator: ClipGenerator, progress: ProgressCallback) -> Edit:
        bar = find_bar(recording, inputs.tempo_bpm)
        parts = extend(
            recording,
            generator,
            inputs,
            after_s=after_s,
            before_s=before_s,
            bar_s=bar.length_s,
            on_progress=progress,
        )
        facts = {} if bar.grid is None else _certainty(bar.grid)
        return Edit(parts, {"tempo_bpm": bar.tempo_bpm, **facts})

    return work


def _plan_loop(inputs: InferenceInput, recording: Recording, generator: ClipGenerator) -> Work:
    beats = inputs.beats or DEFAULT_BEATS
    if inputs.tempo_bpm is not None:
        check_result(recording, beats * 60 / inputs.tempo_bpm, "beats")

    def work(generator: ClipGenerator, progress: ProgressCallback) -> Edit:
        loop = cut_out_loop(
            recording,
            beats=beats,
            tempo_bpm=inputs.tempo_bpm,
            from_s=inputs.from_s,
            from_tempo_bpm=inputs.from_tempo_bpm,
            progress=progress,
        )
        facts = {
            "tempo_bpm": loop.tempo_bpm,
            "found_tempo_bpm": loop.grid.tempo_bpm,
            **_certainty(loop.grid),
            "beats": loop.beats,
            "from_s": loop.start_s,
            "to_s": loop.end_s,
            "seam_novelty": loop.seam_novelty,
        }
        return Edit([New(loop.waveform, 0.0)], facts)

    return work


def _plan_retime(inputs: InferenceInput, recording: Recording, generator: ClipGenerator) -> Work:
    def work(generator: ClipGenerator, progress: ProgressCallback) -> Edit:
        plan = plan_retiming(
            recording,
            tempo_bpm=inputs.tempo_bpm,
            from_tempo_bpm=inputs.from_tempo_bpm,
            key=inputs.key,
            semitones=inputs.semitones,
            progress=progress,
        )
        check_result(recording, recording.duration_s * float(plan.length), "tempo_bpm")
        facts: dict[str, Any] = {"tempo_bpm": plan.tempo_bpm, "semitones": plan.semitones}
        if plan.beats is not None:
            facts["found_tempo_bpm"] = plan.beats.tempo_bpm
            facts |= _certainty(plan.beats)
        if plan.key is not None and plan.transposition is not None:
            facts["key"] = plan.transposition.result.name
            facts["found_key"] = plan.key.key.name
            facts["key_certainty"] = plan.key.certainty
            facts["remark"] = plan.transposition.remark or None
        total = round(recording.num_samples * plan.length)
        return Edit([New(counted(retimed(recording, plan), total, progress), 0.0)], facts)

    return work


def _plan_between(
    inputs: InferenceInput, first: Recording, generator: ClipGenerator, last: Recording
) -> Work:
    num_clips = inputs.num_clips or DEFAULT_NUM_CLIPS
    check_length(first)
    check_length(last, "init_audio_b")
    clip_s = common_samples(first, last) / first.sample_rate
    check_result(first, num_clips * clip_s, "num_clips")
    check_between(first, last, num_clips)
    checked_request(generator, inputs)

    def work(generator: ClipGenerator, progress: ProgressCallback) -> Edit:
        made = between(first, last, generator, inputs, num_clips, progress)
        clips = (sound_of(first, parts) for parts in made.clips)
        return Edit([New(joined(clips, first.sample_rate), 0.0)], _closeness(made))

    return work


def _plan_vary(inputs: InferenceInput, recording: Recording, generator: ClipGenerator) -> Work:
    amount = DEFAULT_AMOUNT if inputs.amount is None else inputs.amount
    check_vary(recording, amount, 1)
    checked_request(generator, inputs)

    def work(generator: ClipGenerator, progress: ProgressCallback) -> Edit:
        made = vary(recording, generator, inputs, amount, 1, progress)
        return Edit(made.clips[0], _closeness(made))

    return work


def _never(inputs: InferenceInput) -> bool:
    return False


MODES: Mapping[str, Mode] = {
    "repaint": Mode(_plan_repaint, lambda inputs: _region(inputs)),
    "restyle": Mode(_plan_restyle),
    "extend": Mode(_plan_extend, lambda inputs: check_extension(*_extension_s(inputs))),
    "between": Mode(
        _plan_between,
        lambda inputs: check_solver_steps(inputs.num_inference_steps),
        draws=_never,
        recordings=lambda inputs: ("init_audio", "init_audio_b"),
    ),
    "vary": Mode(
        _plan_vary, lambda inputs: check_solver_steps(inputs.num_inference_steps), draws=_never
    ),
    "loop": Mode(
        _plan_loop,
        lambda inputs: check_loop(
            inputs.beats or DEFAULT_BEATS, inputs.tempo_bpm, inputs.from_s, inputs.from_tempo_bpm
        ),
        draws=_never,
    ),
    "retime": Mode(
        _plan_retime,
        lambda inputs: check_retiming(
            inputs.tempo_bpm, inputs.from_tempo_bpm, inputs.key, inputs.semitones
        ),
        draws=_never,
    ),
    "stems": STEMS,
    "remix": REMIX,
    "follow": FOLLOW,
}
"""By their names in a request."""


def _region(inputs: InferenceInput) -> Region:
    region = inputs.region
    assert region is not None  # `datatypes` has checked it
    with _inside_region():
        return Region(region.from_s, region.to_s, region.low_hz, region.high_hz)


def _extension_s(inputs: InferenceInput) -> tuple[float, float]:
    """Seconds after the recording's end, and before its start."""
    default = DEFAULT_AFTER_S if inputs.before_s is None else 0.0
    return default if inputs.after_s is None else inputs.after_s, inputs.before_s or 0.0


def _certainty(beats: BeatGrid) -> dict[str, float | None]:
    """How certain a recording's tempo is, and the tempo that it may be instead."""
    return {"tempo_certainty": beats.certainty, "other_tempo_bpm": beats.other_tempo_bpm}


def _closeness(made: Varied) -> dict[str, Any]:
    """An answer's `closeness`. JSON has no number for the level without an error."""
    levels = [{**asdict(each), "latents_db": _finite(each.latents_db)} for each in made.closeness]
    return {"closeness": levels}


def _finite(level_db: float) -> float | None:
    return level_db if math.isfinite(level_db) else None


@contextmanager
def _inside_region() -> Iterator[None]:
    """Name a region's fields as in a request: `region.to_s`."""
    try:
        yield
    except InputError as error:
        if error.field not in ("from_s", "to_s", "low_hz", "high_hz"):
            raise
        message = str(error).removeprefix(f"{error.field}: ")
        raise InputError(message, f"region.{error.field}") from error
