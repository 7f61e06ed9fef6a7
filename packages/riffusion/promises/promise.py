"""What a request promises: tempo, key and length of the clip."""

import math
from dataclasses import dataclass

from riffusion.datatypes import CLIP_DURATION_S, MAX_DURATION_S, PROMISES, InferenceInput
from riffusion.editing.stretching import check_library
from riffusion.errors import InputError
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.music_limits import TEMPO_RANGE_BPM
from riffusion.spectrogram.params import SpectrogramParams


@dataclass(frozen=True)
class Promise:
    """Tempo, key and length of a clip, and how it is drawn.

    Args:
        num_samples: length of the clip at `sample_rate`.
        sample_rate: in Hz.
        tempo_bpm: tempo of the clip; None if neither tempo nor beats are promised.
        key: its key; None if none is promised.
        drawn_frames: width of the drawn image.
        drawn_samples: length of its audio.
        drawn_bpm: tempo at which it is drawn; None if it isn't known.
        fitted_samples: its length after it was stretched to the tempo. The clip is the first
            `num_samples` of that.
    """

    num_samples: int
    sample_rate: int
    tempo_bpm: float | None
    key: Key | None
    drawn_frames: int
    drawn_samples: int
    drawn_bpm: float | None
    fitted_samples: int

    @property
    def duration_s(self) -> float:
        """Length of the clip in seconds."""
        return self.num_samples / self.sample_rate


@dataclass(frozen=True)
class Own:
    """What a loop has by itself.

    Args:
        tempo_bpm: the tempo at which its beats are drawn, or twice or half of it, and so on. A
            checkpoint draws the beats best that it was trained on: those that fill 5.12 s.
        beats: its beats in 5.12 s at that tempo.
    """

    tempo_bpm: float
    beats: int


def has_promise(inputs: InferenceInput) -> bool:
    """Whether a request for a new clip asks for a tempo, a key or a number of beats."""
    return inputs.mode == "img2img" and any(getattr(inputs, name) is not None for name in PROMISES)


def check_promise(inputs: InferenceInput) -> None:
    """Check what can be known before a checkpoint is loaded.

    Raises:
        InputError: the key isn't one, the clip would be too long, or the library for stretching
            isn't installed.
    """
    if not has_promise(inputs):
        return
    if inputs.key is not None:
        Key.parse(inputs.key)
    if inputs.tempo_bpm is not None and inputs.beats is not None:
        LoopGrid.fit(inputs.beats, inputs.tempo_bpm, SpectrogramParams())
    check_library()


def promise_in_beats(
    inputs: InferenceInput, params: SpectrogramParams, own: Own, tempo_bpm: float
) -> Promise:
    """The promise of a request whose clip has a beat.

    Args:
        inputs: the request; without a number of beats the clip has the loop's own, halved or
            doubled until they last about 5.12 s.
        params: spectrogram parameters of the image.
        own: what the loop has by itself.
        tempo_bpm: tempo of the clip.

    Raises:
        InputError: the clip would be too long.
    """
    octaves = _octaves(tempo_bpm, own.tempo_bpm)
    drawn_bpm = own.tempo_bpm * 2**octaves
    beats = math.ceil(own.beats * 2**octaves) if inputs.beats is None else inputs.beats
    LoopGrid.fit(beats, tempo_bpm, params)  # checks them
    repeats = max(1, round(CLIP_DURATION_S / (beats * 60 / drawn_bpm)))  # else it would be short
    drawn_beats = beats * repeats
    drawn_s = drawn_beats * 60 / drawn_bpm
    if drawn_s > MAX_DURATION_S:
        raise InputError(
            f"{beats} at tempo_bpm={tempo_bpm:g} are drawn as {drawn_s:.1f} s, at most "
            f"{MAX_DURATION_S:g} s are allowed; take fewer",
            field="beats",
        )
    drawn = LoopGrid.fit(drawn_beats, drawn_bpm, params)
    is_asked = inputs.tempo_bpm is not None or inputs.beats is not None
    return Promise(
        num_samples=_samples(beats, tempo_bpm, params),
        sample_rate=params.sample_rate,
        tempo_bpm=tempo_bpm if is_asked else None,
        key=None if inputs.key is None else Key.parse(inputs.key),
        drawn_frames=drawn.num_frames,
        drawn_samples=drawn.num_samples,
        drawn_bpm=drawn.tempo_bpm,
        fitted_samples=_samples(drawn_beats, tempo_bpm, params),
    )


def promise_of_key(inputs: InferenceInput, params: SpectrogramParams, num_frames: int) -> Promise:
    """The promise of a key alone: the clip is as long as its init image."""
    length = params.num_samples(num_frames)
    key = None if inputs.key is None else Key.parse(inputs.key)
    return Promise(length, params.sample_rate, None, key, num_frames, length, None, length)


def _octaves(tempo_bpm: float, own_bpm: float) -> int:
    """How often to double the loop's own tempo to come near another one, within the limits."""
    low, high = (math.log2(limit / own_bpm) for limit in TEMPO_RANGE_BPM)
    return min(max(round(math.log2(tempo_bpm / own_bpm)), math.ceil(low)), math.floor(high))


def _samples(beats: int, tempo_bpm: float, params: SpectrogramParams) -> int:
    return max(1, round(beats * 60 / tempo_bpm * params.sample_rate))
