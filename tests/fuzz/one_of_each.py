"""A valid request of every mode: what a server loads when it is first used, it loads for these."""

import base64
import functools
import io
from typing import Any

import mido
import numpy as np
import soundfile
from PIL import Image

Request = dict[str, Any]


@functools.cache
def recording() -> str:
    """Three seconds of a decaying pulse, twice a second, as base64 of a WAV file."""
    rate = 44_100
    time_s = np.arange(3 * rate) / rate
    pulses = np.sin(2 * np.pi * 220 * time_s) * np.exp(-8 * (time_s % 0.5))
    buffer = io.BytesIO()
    soundfile.write(buffer, (0.3 * pulses).astype(np.float32), rate, "PCM_16", format="WAV")
    return base64.b64encode(buffer.getvalue()).decode()


def requests_of_each_mode() -> list[Request]:
    """Cheap requests, of every mode of a checkpoint that draws from text."""
    start = {"prompt": "church bells", "seed": 42}
    drawn = {"start": start, "num_inference_steps": 2}
    sound = {"init_audio": recording()}
    image = {"init_image": _image()}
    return [
        drawn,
        {**drawn, **image, "mask_image": _image()},
        {**drawn, **sound, "audio_format": "ogg", "image_format": "webp"},
        {**drawn, "mode": "txt2img", "audio_format": "flac", "image_format": "png"},
        {**image, "start": start, "mode": "image_to_audio", "audio_format": "wav"},
        {**drawn, **sound, "mode": "repaint", "region": {"from_s": 1.0, "to_s": 1.5}},
        {**drawn, **sound, "mode": "restyle"},
        {**drawn, **sound, "mode": "extend", "after_s": 1.0},
        {**sound, "mode": "between", "init_audio_b": recording(), "num_clips": 2},
        {**sound, "start": start, "mode": "vary"},
        {**sound, "mode": "loop", "beats": 4},
        {**sound, "mode": "retime", "tempo_bpm": 130.0},
        {**sound, "mode": "stems"},
        {**drawn, **sound, "mode": "remix", "restyle": {"harmonic": "piano"}},
        {**drawn, **sound, "mode": "follow"},
        {**drawn, "mode": "follow", "init_midi": _melody()},
    ]


def _image() -> str:
    levels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _melody() -> str:
    track = mido.MidiTrack()
    for note in (60, 64, 67):
        track.append(mido.Message("note_on", note=note))
        track.append(mido.Message("note_off", note=note, time=480))
    file = mido.MidiFile()
    file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return base64.b64encode(buffer.getvalue()).decode()
