"""What a request promises: lengths to the sample, and what is refused."""

from typing import Any

import pytest

from riffusion.datatypes import InferenceInput
from riffusion.errors import InputError
from riffusion.promises.promise import Own, Promise, check_promise, promise_in_beats
from riffusion.spectrogram.params import SpectrogramParams

RATE = 44_100
START = {"prompt": "piano", "seed": 1}


def promise(**fields: Any) -> Promise:
    inputs = InferenceInput.parse({"start": START, **fields})
    tempo = inputs.tempo_bpm or 93.75
    return promise_in_beats(inputs, SpectrogramParams(), Own(93.75, 8), tempo)


@pytest.mark.parametrize(
    ("fields", "beats", "drawn_beats", "drawn_bpm"),
    [
        ({"tempo_bpm": 120.0}, 8, 8, 93.75),
        ({"tempo_bpm": 97.3}, 8, 8, 93.75),
        ({"tempo_bpm": 174.0}, 16, 16, 187.5),
        ({"tempo_bpm": 60.0}, 4, 4, 46.875),
        ({"tempo_bpm": 300.0}, 16, 16, 187.5),
        ({"tempo_bpm": 30.0}, 4, 4, 46.875),
        ({"tempo_bpm": 120.0, "beats": 2}, 2, 8, 93.75),  # repeated, so that it is about 5.12 s
        ({"tempo_bpm": 120.0, "beats": 12}, 12, 12, 93.75),
        ({"beats": 4}, 4, 8, 93.75),
        ({"key": "A minor"}, 8, 8, 93.75),
    ],
)
def test_a_clip_is_as_long_as_its_beats_and_drawn_at_a_tempo_that_fills_512_frames(
    fields: dict[str, Any], beats: int, drawn_beats: int, drawn_bpm: float
) -> None:
    made = promise(**fields)
    tempo = fields.get("tempo_bpm", 93.75)
    assert made.num_samples == round(beats * 60 / tempo * RATE)
    assert made.fitted_samples == round(drawn_beats * 60 / tempo * RATE)
    assert made.drawn_bpm == pytest.approx(drawn_bpm)
    assert (
        made.drawn_samples == made.drawn_frames * 441 == round(drawn_beats * 60 / drawn_bpm * RATE)
    )
    assert (made.tempo_bpm is None) == ("key" in fields)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tempo_bpm": 29.9}, "tempo_bpm"),
        ({"tempo_bpm": 301}, "tempo_bpm"),
        ({"beats": 0}, "beats"),
        ({"beats": 257}, "beats"),
        ({"key": "H minor"}, "key"),
        ({"key": ""}, "key"),
        ({"tempo_bpm": 40.0, "beats": 41}, "beats"),  # 61.5 s
        ({"tempo_bpm": 130.0, "beats": 101}, "beats"),  # 46.6 s, but drawn as 64.6 s
        ({"tempo_bpm": 120.0, "mode": "txt2img"}, "tempo_bpm"),
        ({"key": "A", "mode": "image_to_audio"}, "key"),
        ({"beats": 4, "duration_s": 2.0}, "duration_s"),
    ],
)
def test_what_cannot_be_promised_is_refused_in_one_line(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        check_promise(InferenceInput.parse({"start": START, **fields}))
        promise(**fields)
    assert str(caught.value).startswith(f"{field}: ")
    assert "\n" not in str(caught.value)
