"""A perfect loop out of a recording: whole beats, from a downbeat, with a seam that isn't heard.

    ──────┬────────────────── beats ──────────────────┬──────    recording
       ╱──┘                                        ╱──┘
      lead-in of the start                       end

The loop's last 30 ms are crossfaded from the recording's own into what precedes the loop's start,
so the end leads into the start as the recording does, and the attack of the first beat stays.

Where there is a choice, the loop begins at the downbeat whose surroundings are most like those of
the loop's end, and whose onset isn't stronger than the strongest inside. That is tried out, as the
crossfade may make an onset that neither end has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform
from riffusion.editing.beat_grid import BeatGrid, find_beat_grid
from riffusion.editing.listening import Heard, listen
from riffusion.editing.retiming import MAX_RATIO
from riffusion.editing.sound import Sound
from riffusion.editing.stretching import check_library, stretched
from riffusion.editing.times import format_time
from riffusion.errors import InputError
from riffusion.loops.from_recording import CROSSFADE_S, cut_loop
from riffusion.loops.grid import checked_tempo, checked_whole
from riffusion.loops.onsets import (
    Bands,
    OnsetFrames,
    loudness_from_bands,
    mean_loudness,
    strength_from_bands,
)
from riffusion.loops.oscillators import Signal
from riffusion.music_limits import MAX_BEATS

DEFAULT_BEATS = 8
_CONTEXT_S = 0.5
"""Audio before and after the loop that is stretched with it, so that its ends are as its inside."""
_SEAM_S = 0.05
_FAINT_ONSET = 0.5
"""Onset strength that nobody hears as an onset; a drum has about 20. Where a loop has no other
onset, the seam's is relative to this."""
_TOLERANCE_S = 0.01
"""How much later than the recording's end the last beat may end."""
_MAX_TRIALS = 6
"""Most places at which a loop is cut to hear its seam."""
_STRONG_ONSET_WEIGHT, _QUIET_WEIGHT = 2.0, 0.5


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop that was cut out of a recording.

    Args:
        waveform: (channels, round(beats · 60 / tempo_bpm · sample rate)).
        beats: number of beats.
        tempo_bpm: its tempo.
        start_s: where it begins in the recording.
        end_s: where it ends there.
        seam_novelty: strongest onset at the seam, relative to the strongest one inside the loop: at
            most 1 for a seam that doesn't stand out.
        grid: the recording's beats.
    """

    waveform: Waveform
    beats: int
    tempo_bpm: float
    start_s: float
    end_s: float
    seam_novelty: float
    grid: BeatGrid


def cut_out_loop(
    recording: Sound,
    *,
    beats: int = DEFAULT_BEATS,
    tempo_bpm: float | None = None,
    from_s: float | None = None,
    from_tempo_bpm: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loop:
    """Cut a perfect loop out of a recording.

    Args:
        recording: any length, mono or stereo.
        beats: length of the loop in beats, from 1 to 256.
        tempo_bpm: the loop is stretched to this tempo; by default it keeps the recording's.
        from_s: begin at the downbeat that is nearest to this time; by default the one whose seam is
            the least novel.
        from_tempo_bpm: the recording's tempo, to a few percent; by default it is found.
        progress: called while listening, with the samples done and their total.

    Raises:
        InputError: a value is out of range, no beat was found, or there aren't as many beats.
    """
    check_loop(beats, tempo_bpm, from_s, from_tempo_bpm)
    heard = listen(recording, progress)
    if from_s is not None and from_s >= heard.duration_s:
        raise InputError(
            f"{format_time(from_s)} is after the recording's end at "
            f"{format_time(heard.duration_s)}; choose an earlier time",
            field="from_s",
        )
    grid = find_beat_grid(heard, from_tempo_bpm)
    spans = _spans(grid, beats, heard.duration_s)
    if from_s is None:
        start_s, end_s = _least_novel(recording, spans, beats, heard, grid)
    else:
        start_s, end_s = min(spans, key=lambda span: abs(span[0] - from_s))
        if abs(start_s - from_s) > grid.metre * 60 / grid.tempo_bpm:
            raise InputError(
                f"{beats} beats from {format_time(from_s)} on are more than the recording has; "
                f"begin at {format_time(start_s)} or earlier, or take fewer beats",
                field="from_s",
            )
    own_bpm = beats * 60 / (end_s - start_s)
    tempo = own_bpm if tempo_bpm is None else tempo_bpm
    if not 1 / MAX_RATIO <= own_bpm / tempo <= MAX_RATIO:
        raise InputError(
            f"{tempo:g} is more than {MAX_RATIO:g} times as fast or as slow as the recording "
            f"({own_bpm:.4g} beats per minute); choose a tempo nearer to it",
            field="tempo_bpm",
        )
    waveform = _cut(recording, start_s, own_bpm, beats, tempo)
    novelty = seam_novelty(waveform, recording.sample_rate)
    return Loop(waveform, beats, tempo, start_s, end_s, novelty, grid)


def check_loop(
    beats: int, tempo_bpm: float | None, from_s: float | None, from_tempo_bpm: float | None
) -> None:
    """Check what is known before the recording is read; as `cut_out_loop`.

    Raises:
        InputError: a value is out of range, or the library for stretching is needed and missing.
    """
    checked_whole("beats", beats, 1, MAX_BEATS)
    if tempo_bpm is not None:
        checked_tempo(tempo_bpm)
        check_library()
    if from_tempo_bpm is not None:
        checked_tempo(from_tempo_bpm)
    if from_s is not None and not from_s >= 0:  # also for NaN
        raise InputError(f"{from_s} must be 0 s or more", field="from_s")


def seam_novelty(loop: Waveform, sample_rate: int) -> float:
    """Strongest onset at a loop's seam, relative to the strongest one elsewhere in it.

    The seam is a downbeat, often the strongest onset of its bar, also where it isn't a seam.
    """
    frames = OnsetFrames(sample_rate)
    count = loop.shape[1]
    edge = min(count, sample_rate)
    for part in (loop[:, count - edge :], loop, loop[:, :edge]):
        frames.push(part)
    strength = strength_from_bands(frames.finish())
    at = edge / sample_rate / frames.step_s  # of the start; the end is as far from the last frame
    end = at + count / sample_rate / frames.step_s
    return _onset_ratio(strength, round(at), round(end), frames.step_s)


def whole_beats_s(grid: BeatGrid, duration_s: float) -> npt.NDArray[np.float64]:
    """Where a recording's whole beats begin in seconds, and where the last of them ends."""
    last = grid.beats_s[-1] - grid.beats_s[-2]
    times = np.append(grid.beats_s, grid.beats_s[-1] + last)  # where the next one would be
    return times[times <= duration_s + _TOLERANCE_S]


def _spans(grid: BeatGrid, beats: int, duration_s: float) -> list[tuple[float, float]]:
    """Starts and ends in seconds of everything with as many beats that begins on a downbeat.

    Raises:
        InputError: there is none.
    """
    times = whole_beats_s(grid, duration_s)
    firsts = range(grid.first_downbeat, times.size - beats, grid.metre)
    if not firsts and times.size > beats:
        firsts = range(times.size - beats)  # too few for a choice of downbeats
    if not firsts:
        raise InputError(
            f"{beats} are more than the recording has: {max(0, times.size - 1)} whole beats at "
            f"{grid.tempo_bpm:.4g} beats per minute; take fewer, or a longer recording",
            field="beats",
        )
    return [(float(times[first]), float(times[first + beats])) for first in firsts]


def _least_novel(
    recording: Sound,
    spans: list[tuple[float, float]],
    beats: int,
    heard: Heard,
    grid: BeatGrid,
) -> tuple[float, float]:
    """The span whose end is most like its start, of those whose seam doesn't stand out.

    If all that are tried have one that does, the one where it does least.
    """
    loudness, loudest = mean_loudness(heard.bands), float(heard.bands.max())
    strength = strength_from_bands(heard.bands)
    usual = float(np.median(loudness))
    width = max(1, round(60 / grid.tempo_bpm / heard.step_s))

    def cost(span: tuple[float, float]) -> float:
        start, end = (round(time_s / heard.step_s) for time_s in span)
        inside = float(loudness[start:end].mean())
        return (
            _difference(heard.bands, loudest, start, end, width, inside)
            + _STRONG_ONSET_WEIGHT * max(0.0, _onset_ratio(strength, start, end, heard.step_s) - 1)
            + _QUIET_WEIGHT * max(0.0, usual - inside)
        )

    novelties: dict[tuple[float, float], float] = {}
    for start_s, end_s in sorted(spans, key=cost)[:_MAX_TRIALS]:
        own_bpm = beats * 60 / (end_s - start_s)
        cut = _cut(recording, start_s, own_bpm, beats, own_bpm)
        novelties[start_s, end_s] = novelty = seam_novelty(cut, recording.sample_rate)
        if novelty <= 1:
            return start_s, end_s
    return min(novelties, key=lambda span: novelties[span])


def _difference(
    bands: Bands, loudest: float, start: int, end: int, width: int, inside: float
) -> float:
    """Mean difference of loudness around the start and around the end, a beat either way.

    Args:
        bands: magnitudes (bands, frames).
        loudest: the largest of them.
        start, end: frames.
        width: frames of a beat.
        inside: mean loudness from start to end, which counts for what is missing beyond the
            recording's ends.
    """
    after = max(0, min(width, bands.shape[1] - end))
    before = min(width, start)
    known = before + after
    if known == 0:
        return float(loudness_from_bands(np.full((1, 1), loudest, np.float32), loudest)[0, 0])
    around_start, around_end = (
        loudness_from_bands(bands[:, at - before : at + after], loudest) for at in (start, end)
    )
    difference = float(np.abs(around_start - around_end).mean())
    missing: float = (2 * width - known) / (2 * width)
    return difference + missing * inside


def _onset_ratio(strength: Signal, start: int, end: int, step_s: float) -> float:
    """The strongest onset at the start, relative to the strongest one between there and the end."""
    reach = round(_SEAM_S / step_s)
    seam = strength[max(0, start - reach) : start + reach + 1].max(initial=0)
    inside = strength[start + reach + 1 : end - reach].max(initial=0)
    return float(seam / max(float(inside), _FAINT_ONSET))


def _cut(
    recording: Sound, start_s: float, own_bpm: float, beats: int, tempo_bpm: float
) -> Waveform:
    """The loop with its seam crossfaded: (channels, round(beats · 60 / tempo_bpm · rate))."""
    rate = recording.sample_rate
    num_samples = round(beats * 60 / tempo_bpm * rate)
    length = Fraction(own_bpm) / Fraction(tempo_bpm)
    lead_in = min(round(CROSSFADE_S * rate), num_samples)
    start = round(start_s * rate)
    context = round(_CONTEXT_S * rate)
    first = max(0, start - context)
    last = min(recording.num_samples, start + round(num_samples / length) + context)
    stretch = stretched(
        lambda low, high: recording.waveform(first + low, first + high),
        last - first,
        recording.num_channels,
        rate,
        length if abs(length - 1) * num_samples > 1 else Fraction(1),
    )
    audio = np.concatenate(list(stretch), axis=1)
    at = round((start - first) * length)
    if at < lead_in:  # the recording begins with the loop, so nothing leads into it
        return cut_loop(audio[:, at:], num_samples, rate)
    return np.roll(cut_loop(audio[:, at - lead_in :], num_samples, rate), -lead_in, axis=1)
