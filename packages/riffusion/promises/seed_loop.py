"""The loop that a clip starts from, made for the tempo, key and beats that are promised.

The loops of `riffusion.loops` are composed anew. Any other image or audio is heard, and a loop with
as many beats is cut out of it. Loops end where they begin, so an image's right edge continues at
its left edge.
"""

import dataclasses

import numpy as np
from PIL import Image

from riffusion.audio import Audio, segment_from_waveform
from riffusion.audio.waveform import Waveform, resample
from riffusion.datatypes import CLIP_DURATION_S, InferenceInput
from riffusion.editing.beat_grid import BeatGrid, find_beat_grid
from riffusion.editing.key_finding import find_key
from riffusion.editing.listening import Heard, listen
from riffusion.editing.looping import cut_out_loop, whole_beats_s
from riffusion.editing.sound import SoundInMemory
from riffusion.editing.transposing import same_notes, transposition
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator, ResolvedInput
from riffusion.generation.media import Media
from riffusion.generation.request_memory import LARGE_AUDIO_S, one_at_a_time
from riffusion.loops.arrangements import ARRANGEMENTS, Arrangement
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.oscillators import SAMPLE_RATE
from riffusion.loops.rendering import render_loop
from riffusion.promises.promise import Own, Promise, promise_in_beats, promise_of_key
from riffusion.promises.shaping import shaped
from riffusion.spectrogram.params import SpectrogramParams

_USUAL = Own(8 * 60 / CLIP_DURATION_S, 8)


def with_seed_loop(
    generator: ClipGenerator, resolved: ResolvedInput, media: Media | None
) -> tuple[ResolvedInput, Promise]:
    """Replace the init image by that of a loop as the request asks for it.

    Args:
        generator: hears an init image.
        resolved: what it resolved.
        media: decoded media, in place of the request's.

    Raises:
        InputError: no beat or key was found in the init image or audio, it has too few beats, or
            the clip would be too long; `field` names the request's field.
    """
    inputs, params = resolved.inputs, resolved.params
    field = _field_of_recording(inputs, media or Media())
    if field is None:
        loop, promise = _composed(ARRANGEMENTS[inputs.seed_image_id], inputs, params)
    else:
        try:
            with one_at_a_time((resolved.init_duration_s or 0) > LARGE_AUDIO_S):
                loop, promise = _cut_out(generator, resolved)
        except InputError as error:
            raise error if error.field else InputError(str(error), field) from None
    with one_at_a_time(loop.shape[1] / params.sample_rate > LARGE_AUDIO_S):
        image = _image_of_loop(generator, loop, params)
    return dataclasses.replace(resolved, init_image=image), promise


def _field_of_recording(inputs: InferenceInput, media: Media) -> str | None:
    """The field of the image or audio to start from; None if it is one of the composed loops."""
    if media.init_image is not None or inputs.init_image is not None:
        return "init_image"
    if media.init_audio is not None or inputs.init_audio is not None:
        return "init_audio"
    return None if inputs.seed_image_id in ARRANGEMENTS else "seed_image_id"


def _composed(
    arrangement: Arrangement, inputs: InferenceInput, params: SpectrogramParams
) -> tuple[Waveform, Promise]:
    """A loop of `riffusion.loops`, at the tempo at which it is drawn."""
    own = Own(arrangement.tempo_bpm, arrangement.beats)
    promise = promise_in_beats(inputs, params, own, inputs.tempo_bpm or own.tempo_bpm)
    assert promise.drawn_bpm is not None
    duration_s = promise.drawn_samples / params.sample_rate
    beats = round(duration_s * promise.drawn_bpm / 60)
    grid = LoopGrid(beats, round(duration_s * SAMPLE_RATE), 1, SAMPLE_RATE)  # whole samples
    key = Key.parse(arrangement.key if inputs.key is None else inputs.key)
    return resample(render_loop(arrangement, grid, key), SAMPLE_RATE, params.sample_rate), promise


def _cut_out(generator: ClipGenerator, resolved: ResolvedInput) -> tuple[Waveform, Promise]:
    """A loop out of the init image: as many of its beats, at the tempo at which they are drawn."""
    inputs, params = resolved.inputs, resolved.params
    assert resolved.init_image is not None  # promises are for mode=img2img
    hearable = inputs.model_copy(update={"mode": "image_to_audio"})
    audio = generator.generate(
        dataclasses.replace(resolved, inputs=hearable, mask_image=None)
    ).audio
    sound = SoundInMemory(audio)
    heard = listen(sound)
    semitones = 0 if inputs.key is None else _semitones(heard, Key.parse(inputs.key))
    if inputs.tempo_bpm is None and inputs.beats is None:
        promise = promise_of_key(inputs, params, resolved.init_image.width)
        return shaped(audio, semitones, promise.drawn_samples), promise
    grid = _beats(heard)
    tempo = grid.tempo_bpm if inputs.tempo_bpm is None else inputs.tempo_bpm
    available = round(audio.duration_s * grid.tempo_bpm / 60)
    promise = promise_in_beats(inputs, params, _usual(available), tempo)
    assert promise.drawn_bpm is not None
    beats = round(promise.drawn_samples / params.sample_rate * promise.drawn_bpm / 60)
    kept = min(beats, max(1, whole_beats_s(grid, audio.duration_s).size - 1))
    loop = cut_out_loop(
        sound, beats=kept, tempo_bpm=promise.drawn_bpm, from_tempo_bpm=grid.tempo_bpm
    )
    looped = np.take(loop.waveform, np.arange(promise.drawn_samples), axis=-1, mode="wrap")
    return shaped(Audio(looped, audio.sample_rate), semitones, promise.drawn_samples), promise


def _beats(heard: Heard) -> BeatGrid:
    try:
        return find_beat_grid(heard)
    except InputError as error:
        why = str(error).partition(";")[0]
        raise InputError(f"{why}; start from audio with a beat, or from a loop") from error


def _semitones(heard: Heard, wanted: Key) -> int:
    """How far to move what was heard to the notes of a key; 0 if it has no key, as drums."""
    try:
        found = find_key(heard).key
    except InputError:
        return 0
    return transposition(same_notes(found, wanted.mode), wanted).semitones


def _usual(available_beats: int) -> Own:
    return dataclasses.replace(_USUAL, beats=max(1, min(_USUAL.beats, available_beats)))


def _image_of_loop(
    generator: ClipGenerator, loop: Waveform, params: SpectrogramParams
) -> Image.Image:
    """Image of a loop's endless repetition, one frame per started hop."""
    hop, num_frames = params.hop_length, params.num_frames(loop.shape[1])
    margin = params.n_fft // (2 * hop) + 1  # half an FFT extends before and after
    positions = np.arange(-margin * hop, (num_frames + margin) * hop)
    around = np.take(loop, positions, axis=-1, mode="wrap")
    image = generator.image_from_audio(segment_from_waveform(around, params.sample_rate))
    return image.crop((margin, 0, margin + num_frames, image.height))
