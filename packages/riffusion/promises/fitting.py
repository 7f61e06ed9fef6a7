"""A drawn clip as long as it was promised, at the promised tempo and in the promised key."""

import dataclasses
import math
import time

import numpy as np

from riffusion.audio import Audio, normalize_waveform, segment_from_waveform
from riffusion.audio.waveform import Waveform
from riffusion.editing.transposing import same_notes, transposition
from riffusion.generation.generator import Clip, ClipGenerator
from riffusion.loops.from_recording import CROSSFADE_S, cut_loop
from riffusion.promises.hearing import (
    LARGEST_ERROR_PERCENT,
    LEAST_KEY_CERTAINTY,
    Hearing,
    hear,
    is_in_key,
    tempo_error_percent,
)
from riffusion.promises.promise import Promise
from riffusion.promises.shaping import filled, shaped


@dataclasses.dataclass(frozen=True)
class FittedClip:
    """A clip that was put right, and what is heard in it.

    Args:
        clip: the clip.
        hearing: what is heard in it, or in its repetitions if it is short.
        semitones: by which its pitch was moved.
    """

    clip: Clip
    hearing: Hearing
    semitones: int


def fitted(generator: ClipGenerator, clip: Clip, promise: Promise) -> FittedClip:
    """Stretch a drawn clip to its tempo, move it to its key if it is in another one, and cut it.

    Args:
        generator: draws the image of what was changed.
        clip: the drawn clip.
        promise: what it should be.

    Returns:
        The clip, `promise.num_samples` long, with the image of its audio.
    """
    started = time.perf_counter()
    drawn = Audio(clip.audio.waveform[:, : promise.drawn_samples], promise.sample_rate)
    hearing = hear(drawn, promise.drawn_bpm)
    semitones = _semitones(hearing, promise)
    whole = _in_tempo(drawn, hearing, semitones, promise)
    after = hear(whole, promise.tempo_bpm)
    if semitones and promise.key is not None and not is_in_key(after, promise.key):
        semitones = 0  # what was heard wasn't the key, so the pitch stays
        whole = _in_tempo(drawn, hearing, 0, promise)
        after = hear(whole, promise.tempo_bpm)
    audio = Audio(_first_beats(whole.waveform, promise), promise.sample_rate)
    image = clip.image
    if whole.waveform is not drawn.waveform or audio.num_samples < drawn.num_samples:
        # Stretching and crossfading raise peaks; a drawn clip's are below full scale.
        level = normalize_waveform(audio.waveform, audio.sample_rate, circular=True)
        audio = Audio(level, audio.sample_rate)
        image = generator.image_from_audio(segment_from_waveform(audio.waveform, audio.sample_rate))
    inside_s = promise.duration_s - 30 / (promise.tempo_bpm or math.inf)
    downbeats = tuple(time_s for time_s in after.downbeats_s if time_s < inside_s)
    timings = {**clip.timings_s, "promise": time.perf_counter() - started}
    made = dataclasses.replace(clip, image=image, audio=audio, timings_s=timings)
    return FittedClip(made, dataclasses.replace(after, downbeats_s=downbeats), semitones)


def _semitones(hearing: Hearing, promise: Promise) -> int:
    """How far the clip is from its key, if it is surely in another one; else 0."""
    if promise.key is None or hearing.key is None or is_in_key(hearing, promise.key):
        return 0
    if hearing.key.certainty < LEAST_KEY_CERTAINTY:
        return 0
    own = same_notes(hearing.key.key, promise.key.mode)
    return transposition(own, promise.key).semitones


def _in_tempo(drawn: Audio, hearing: Hearing, semitones: int, promise: Promise) -> Audio:
    """The whole drawn clip, stretched: by what is heard if its beat is off, else as it was drawn.

    A beat that was heard is off if it is more than 0.5 % from the tempo at which it was drawn.
    """
    total, rate = promise.fitted_samples, promise.sample_rate
    error = tempo_error_percent(hearing, promise.drawn_bpm)
    if error is None or promise.tempo_bpm is None or abs(error) <= LARGEST_ERROR_PERCENT:
        return Audio(shaped(drawn, semitones, total), rate)
    own = shaped(drawn, semitones, round(total * (1 + error / 100)))
    return Audio(filled(own, total, 60 / promise.tempo_bpm * rate, rate), rate)


def _first_beats(whole: Waveform, promise: Promise) -> Waveform:
    """The promised beats of a longer loop, as a loop: their end leads into their start."""
    if promise.num_samples == whole.shape[1]:
        return whole
    rate = promise.sample_rate
    lead_in = min(round(CROSSFADE_S * rate), promise.num_samples)
    around = np.concatenate([whole[:, -lead_in:], whole], axis=1)
    return np.roll(cut_loop(around, promise.num_samples, rate), -lead_in, axis=1)
