"""The request's rules: upstream's fields and defaults; anything invalid gets an input error."""

import dataclasses
import json
import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riffusion.datatypes import InferenceInput, InferenceOutput, PromptInput
from riffusion.errors import InputError
from riffusion.io.data_urls import bytes_from_data_url
from tests.request_fields import BETWEEN, EDIT, RECORDING, SECTION, START


def test_a_request_of_the_public_web_app_is_understood() -> None:
    end = {"prompt": "church bells", "seed": 8731, "denoising": 0.75, "guidance": 7}
    inputs = InferenceInput.parse(
        {
            "alpha": 0.25,
            "num_inference_steps": 50,
            "seed_image_id": "og_beat",
            "mask_image_id": None,
            "start": end | {"seed": 8730},
            "end": end,
        }
    )
    assert (inputs.alpha, inputs.start.seed, inputs.end.seed) == (0.25, 8730, 8731)
    assert inputs.start.guidance == 7.0


def test_defaults_are_upstreams() -> None:
    inputs = InferenceInput.parse({"start": START})
    assert inputs.end == inputs.start == PromptInput(prompt="church bells", seed=42)
    assert (inputs.start.denoising, inputs.start.guidance) == (0.75, 7.0)
    assert inputs.start.negative_prompt is None
    assert (inputs.alpha, inputs.num_inference_steps) == (0.0, 50)
    assert (inputs.seed_image_id, inputs.mask_image_id) == ("og_beat", None)
    assert (inputs.mode, inputs.audio_format, inputs.image_format) == ("img2img", "mp3", "jpeg")


def test_upstream_scripts_build_requests_by_keyword() -> None:
    start = PromptInput(prompt="a", seed=1)
    inputs = InferenceInput(start=start, end=PromptInput(prompt="b", seed=2), alpha=0.5)
    assert inputs.end.prompt == "b"


def test_upstream_scripts_treat_requests_as_dataclasses() -> None:
    inputs = InferenceInput.parse({"start": START, "alpha": 0.25})
    assert dataclasses.asdict(inputs) == inputs.model_dump()
    assert dataclasses.replace(inputs, alpha=0.5).alpha == 0.5  # type: ignore[type-var]
    output = InferenceOutput(image="a", audio="b", duration_s=5.12)
    assert dataclasses.asdict(output) == {"image": "a", "audio": "b", "duration_s": 5.12}


def test_seeds_may_be_numpy_integers() -> None:
    assert PromptInput(prompt="a", seed=np.int64(3)).seed == 3


def test_unknown_fields_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        InferenceInput.parse({"start": START | {"colour": 1}, "worklet": 3})
    assert "colour" in caplog.text
    assert "worklet" in caplog.text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"start": None}, "start"),
        ({"start": 3}, "start"),
        ({"start": {"prompt": "a"}}, "start.seed"),
        ({"start": {"seed": 1}}, "start.prompt"),
        ({"start": START | {"prompt": 7}}, "start.prompt"),
        ({"start": START | {"prompt": "a" * 2**20}}, "start.prompt"),
        ({"start": START | {"seed": -1}}, "start.seed"),
        ({"start": START | {"seed": 2**63}}, "start.seed"),
        ({"start": START | {"seed": 10**400}}, "start.seed"),
        ({"start": START | {"seed": 1.5}}, "start.seed"),
        ({"start": START | {"seed": "1"}}, "start.seed"),
        ({"start": START | {"seed": True}}, "start.seed"),
        ({"start": START | {"denoising": 1.01}}, "start.denoising"),
        ({"start": START | {"guidance": 31}}, "start.guidance"),
        ({"start": START | {"guidance": float("nan")}}, "start.guidance"),
        ({"end": START | {"guidance": float("inf")}}, "end.guidance"),
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": "half"}, "alpha"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 151}, "num_inference_steps"),
        ({"seed_image_id": ""}, "seed_image_id"),
        ({"seed_image_id": 5}, "seed_image_id"),
        ({"mask_image_id": "x" * 101}, "mask_image_id"),
        ({"mode": "magic"}, "mode"),
        ({"mode": "txt2img", "duration_s": 0}, "duration_s"),
        ({"mode": "txt2img", "duration_s": 61}, "duration_s"),
        ({"duration_s": 5}, "duration_s"),
        ({"init_image": ""}, "init_image"),
        ({"init_image": "a", "init_audio": "b"}, "init_audio"),
        ({"mask_image": "a", "mask_image_id": "b"}, "mask_image"),
        ({"mode": "txt2img", "init_image": "a"}, "mode"),
        ({"mode": "txt2img", "mask_image_id": "a"}, "mode"),
        ({"mode": "image_to_audio", "mask_image_id": "a"}, "mode"),
        ({"scheduler": "fancy"}, "scheduler"),
        ({"audio_format": "exe"}, "audio_format"),
        ({"image_format": "gif"}, "image_format"),
        ({"stream": "yes"}, "stream"),
        ({"mode": "repaint", "region": SECTION}, "init_audio"),
        ({"mode": "repaint", "init_audio": "a"}, "region"),
        ({"mode": "repaint", "init_audio": "a", "region": {"from_s": 1}}, "region.to_s"),
        (EDIT | {"region": SECTION | {"from_s": -1}}, "region.from_s"),
        (EDIT | {"region": SECTION | {"low_hz": "low"}}, "region.low_hz"),
        (EDIT | {"region": [1, 2]}, "region"),
        (EDIT | {"alpha": 0.5}, "alpha"),
        (EDIT | {"mask_image_id": "a"}, "mode"),
        (EDIT | {"duration_s": 5}, "duration_s"),
        (EDIT | {"init_audio": None, "init_image": "a"}, "init_image"),
        (EDIT | {"after_s": 1}, "after_s"),
        (EDIT | {"beats": 8}, "beats"),
        (EDIT | {"tempo_bpm": 120}, "tempo_bpm"),
        (RECORDING | {"mode": "restyle", "region": SECTION}, "region"),
        (RECORDING | {"mode": "restyle", "prompts_at": [{"at_s": 1}]}, "prompts_at.0.prompt"),
        (RECORDING | {"mode": "restyle", "prompts_at": {"at_s": 1}}, "prompts_at"),
        (RECORDING | {"mode": "extend", "after_s": -1}, "after_s"),
        (RECORDING | {"mode": "extend", "key": "C"}, "key"),
        (RECORDING | {"mode": "extend", "from_tempo_bpm": 90}, "from_tempo_bpm"),
        (RECORDING | {"mode": "between"}, "init_audio_b"),
        ({"mode": "between", "init_audio_b": "b"}, "init_audio"),
        (BETWEEN | {"init_audio_b": ""}, "init_audio_b"),
        (BETWEEN | {"num_clips": 1}, "num_clips"),
        (BETWEEN | {"num_clips": 101}, "num_clips"),
        (BETWEEN | {"num_clips": 2.5}, "num_clips"),
        (BETWEEN | {"amount": 0.5}, "amount"),
        (BETWEEN | {"alpha": 0.5}, "alpha"),
        (BETWEEN | {"scheduler": "euler"}, "scheduler"),
        (RECORDING | {"mode": "vary", "amount": -0.1}, "amount"),
        (RECORDING | {"mode": "vary", "amount": 1.1}, "amount"),
        (RECORDING | {"mode": "vary", "amount": float("nan")}, "amount"),
        (RECORDING | {"mode": "vary", "num_clips": 2}, "num_clips"),
        (RECORDING | {"mode": "vary", "init_audio_b": "b"}, "init_audio_b"),
        (RECORDING | {"mode": "vary", "region": SECTION}, "region"),
        (RECORDING | {"mode": "vary", "scheduler": "lcm", "preset": "instant"}, "scheduler"),
        (RECORDING | {"mode": "restyle", "amount": 0.5}, "amount"),
        (RECORDING | {"mode": "loop", "loras": [{"id": "a"}]}, "loras"),
        ({"mode": "image_to_audio", "loras": [{"id": "a"}]}, "loras"),
        (RECORDING | {"mode": "retime", "tempo_bpm": 90, "loras": [{"id": "a"}]}, "loras"),
        ({"init_audio_b": "b"}, "init_audio_b"),
        (RECORDING | {"mode": "loop", "beats": 0}, "beats"),
        (RECORDING | {"mode": "loop", "beats": 257}, "beats"),
        (RECORDING | {"mode": "loop", "tempo_bpm": 20}, "tempo_bpm"),
        (RECORDING | {"mode": "loop", "semitones": 1}, "semitones"),
        (RECORDING | {"mode": "retime", "tempo_bpm": 301}, "tempo_bpm"),
        (RECORDING | {"mode": "retime", "semitones": 25}, "semitones"),
        (RECORDING | {"mode": "retime", "semitones": float("nan")}, "semitones"),
        (RECORDING | {"mode": "retime", "key": 3}, "key"),
        ({"region": SECTION}, "region"),
        ({"mode": "txt2img", "prompts_at": [{"at_s": 1, "prompt": "a"}]}, "prompts_at"),
        ({"from_s": 0}, "from_s"),
    ],
)
def test_bad_request_names_its_field_in_one_short_line(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        InferenceInput.parse({"start": START} | change)
    message = str(caught.value)
    assert message.startswith(f"{field}: ")
    assert "\n" not in message
    assert len(message) < 250


@pytest.mark.parametrize("value", [None, [], "text", 3, [START]])
def test_a_request_must_be_an_object(value: object) -> None:
    with pytest.raises(InputError, match="request: "):
        InferenceInput.parse(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(sorted(InferenceInput.model_fields)),
        JSON | st.fixed_dictionaries({"prompt": st.text(), "seed": st.integers()}),
    )
)
def test_any_json_is_a_request_or_an_input_error(values: dict[str, Any]) -> None:
    try:
        inputs = InferenceInput.parse(values)
    except InputError:
        return
    again = InferenceInput.parse(json.loads(inputs.model_dump_json()))
    assert again == inputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guidance_interval": [1, 0]}, "guidance_interval: [1, 0] must be in ascending order"),
        ({"start": {"prompt": "x", "seed": 1.5}}, "start.seed: "),
    ],
)
def test_rules_of_our_own_are_told_without_pydantics_words(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        InferenceInput.parse({"start": {"prompt": "x", "seed": 1}, **change})
    assert str(caught.value).startswith(message)
    assert "Value error" not in str(caught.value)


def test_null_means_the_same_with_and_without_a_preset() -> None:
    start = {"prompt": "x", "seed": 1}
    preset = InferenceInput.parse({"start": start, "preset": "fast", "scheduler": None})
    assert preset.scheduler == InferenceInput.parse({"start": start, "preset": "fast"}).scheduler
    for name in ("alpha", "num_inference_steps", "guidance_interval"):
        for more in ({}, {"preset": "fast"}):
            with pytest.raises(InputError, match=name):
                InferenceInput.parse({"start": start, name: None, **more})


@pytest.mark.parametrize(
    "fields",
    [
        {"gain_db": {"(" * 2000: 1.0}},
        {"restyle": {"x\ny\u2028" * 500: "piano"}},
        {"loras": [{"id": "a", "weight": "9" * 3000}]},
        {"mute": ["\x1b[2J" * 900]},
        {"mode": "a\nb" * 1500},
        {"key": "H\t" * 1000},
        {"preset": "(" * 4000},
        {"scheduler": "(" * 4000},
        {"audio_format": "\n" * 4000},
        {"start": {"prompt": "x", "seed": "1" * 4000}},
        {"start": {"prompt": "x", "seed": 1, "guidance": "(" * 4000}},
        {"init_audio": "(" * 4000},
        {"init_image": "data:" + "x" * 4000},
    ],
)
def test_an_error_repeats_only_the_beginning_of_what_was_sent(fields: dict[str, Any]) -> None:
    """Values, and keys, which the sender chooses, too; and it is one line."""
    with pytest.raises(InputError) as caught:
        inputs = InferenceInput.parse({"mode": "remix", "start": START} | RECORDING | fields)
        bytes_from_data_url(inputs.init_audio or inputs.init_image or "", "init_audio")
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()
