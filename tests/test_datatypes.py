"""The request's rules: upstream's fields and defaults; anything invalid gets an input error."""

import dataclasses
import json
import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riffusion import edit_fields
from riffusion.datatypes import PRESETS, EditOutput, InferenceInput, InferenceOutput, PromptInput
from riffusion.errors import InputError
from riffusion.io.data_urls import bytes_from_data_url

START = {"prompt": "church bells", "seed": 42}
SECTION = {"from_s": 1, "to_s": 2}
RECORDING = {"init_audio": "a"}
BETWEEN = {**RECORDING, "mode": "between", "init_audio_b": "b"}
EDIT = {**RECORDING, "mode": "repaint", "region": SECTION}


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
    ("mode", "denoising"), [("repaint", 1.0), ("restyle", 0.5), ("extend", 0.7), ("img2img", 0.75)]
)
def test_how_much_changes_by_default_depends_on_the_mode(mode: str, denoising: float) -> None:
    fields = EDIT if mode == "repaint" else RECORDING
    assert InferenceInput.parse({"start": START} | fields | {"mode": mode}).start.denoising == (
        denoising
    )
    given = {"start": {**START, "denoising": 0.25}} | fields | {"mode": mode}
    assert InferenceInput.parse(given).start.denoising == 0.25


@pytest.mark.parametrize("fields", [BETWEEN, RECORDING | {"mode": "vary"}])
@pytest.mark.parametrize("more", [{}, {"scheduler": None}])
def test_own_noise_has_20_steps_of_ddim_by_default(
    fields: dict[str, Any], more: dict[str, Any]
) -> None:
    request = {"start": START} | fields | more
    inputs = InferenceInput.parse(request)
    assert (inputs.scheduler, inputs.num_inference_steps) == ("ddim", 20)
    assert InferenceInput.parse(request | {"num_inference_steps": 7}).num_inference_steps == 7


TEXT_MODES = {"repaint", "restyle", "extend", "remix", "follow"}
NOISE_MODES = {"between", "vary"}
SOUND_MODES = {"loop", "retime", "stems"}
ANY = TEXT_MODES | NOISE_MODES | SOUND_MODES
PROMPT_AT = {"at_s": 1.0, "prompt": "flute"}
MODES_OF_VALUE: dict[str, list[tuple[Any, set[str]]]] = {
    "start": [
        ({"prompt": "flute", "seed": 7}, ANY),
        (START | {"negative_prompt": "noise"}, TEXT_MODES),
        (START | {"denoising": 0.9}, TEXT_MODES),
        (START | {"denoising": 0.0}, TEXT_MODES),
        (START | {"guidance": 3.0}, TEXT_MODES),
        (START | {"guidance": 0.0}, TEXT_MODES),
    ],
    "end": [
        (START, ANY),
        (START | {"prompt": "flute"}, {"between"}),
        (START | {"guidance": 3.0}, set()),
        (START | {"negative_prompt": ""}, set()),
    ],
    "alpha": [(0.0, ANY), (0.5, set())],
    "num_inference_steps": [(7, TEXT_MODES | NOISE_MODES)],
    "seed_image_id": [("og_beat", ANY), ("agile", set())],
    "mask_image_id": [("mask_beat_lines_80", set())],
    "duration_s": [(5.0, set())],
    "init_image": [("a", set())],
    "init_audio": [("a", ANY)],
    "mask_image": [("a", set())],
    "scheduler": [("ddim", TEXT_MODES | NOISE_MODES), ("euler", TEXT_MODES)],
    "preset": [(name, TEXT_MODES) for name in PRESETS],
    "guidance_interval": [((0.0, 1.0), ANY), ((0.0, 0.5), TEXT_MODES)],
    "loras": [([{"id": "a"}], TEXT_MODES | NOISE_MODES)],
    "region": [(SECTION, {"repaint"})],
    "prompts_at": [([], ANY), ([PROMPT_AT], {"restyle"})],
    "init_audio_b": [("b", {"between"})],
    "num_clips": [(2, {"between"})],
    "amount": [(0.0, {"vary"})],
    "after_s": [(0.0, {"extend"})],
    "before_s": [(0.0, {"extend"})],
    "beats": [(8, {"loop"})],
    "from_s": [(0.0, {"loop"})],
    "tempo_bpm": [(90.0, {"extend", "loop", "retime"})],
    "from_tempo_bpm": [(90.0, {"loop", "retime"})],
    "key": [("C", {"retime"})],
    "semitones": [(0.0, {"retime"})],
    "gain_db": [({"drums": 6.0}, {"remix"})],
    "mute": [([], ANY), (["bass"], {"remix"})],
    "restyle": [({"bass": "choir"}, {"remix"})],
    "init_midi": [("b", set())],
    "audio_format": [("wav", ANY)],
    "image_format": [("png", ANY)],
    "deadline_s": [(60.0, ANY)],
    "stream": [(True, ANY)],
}
"""Values of each field, and the edits in which they have an effect (or are the default)."""
REFUSED_BY_OTHER_RULES = {
    "init_image": "init_audio",
    "mask_image": "mode",
    "mask_image_id": "mode",
}


def test_each_field_is_either_used_by_an_edit_or_refused() -> None:
    assert set(edit_fields.EDIT_MODES) == ANY
    assert set(MODES_OF_VALUE) == set(InferenceInput.model_fields) - {"mode"}
    needed: dict[str, dict[str, Any]] = {
        "repaint": {"region": SECTION},
        "between": {"init_audio_b": "b"},
        "remix": {"restyle": {"bass": "choir"}},
    }
    for mode in sorted(ANY):
        request = {"start": START, "mode": mode} | RECORDING | needed.get(mode, {})
        for name, values in MODES_OF_VALUE.items():
            for value, modes in values:
                if mode in modes:
                    InferenceInput.parse(request | {name: value})
                    continue
                with pytest.raises(InputError) as caught:
                    InferenceInput.parse(request | {name: value})
                field = str(caught.value).split(":")[0]
                if name in REFUSED_BY_OTHER_RULES:
                    assert field == REFUSED_BY_OTHER_RULES[name]
                else:
                    assert field.split(".")[0] == name
                    assert f"mode={mode}" in str(caught.value)
                assert len(str(caught.value)) < 250 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"start": START | {"guidance": 3.5}},
            "start.guidance: 3.5 has no effect in mode=vary, of the edits only in mode=repaint or ",
        ),
        ({"preset": "fast"}, "preset: 'fast' has no effect in mode=vary"),
        ({"start": START | {"negative_prompt": "a" * 4000}}, "start.negative_prompt: 'aaaa"),
        ({"seed_image_id": "agile"}, "seed_image_id: 'agile' has no effect in mode=vary; leave "),
    ],
)
def test_a_setting_without_effect_is_refused_in_one_line(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        InferenceInput.parse({"start": START, "mode": "vary"} | RECORDING | fields)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("; leave it out")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preset": "fast"}, "preset: 'fast' has no effect in mode=remix without restyle, of "),
        ({"start": START | {"denoising": 0.9}}, "start.denoising: 0.9 has no effect in mode=remix"),
        ({"loras": [{"id": "a"}]}, "loras: mode=remix draws nothing"),
    ],
)
def test_a_remix_of_levels_alone_takes_no_setting_of_a_drawing(
    fields: dict[str, Any], message: str
) -> None:
    request = {"mode": "remix", "mute": ["bass"]} | RECORDING
    InferenceInput.parse(request)
    with pytest.raises(InputError) as caught:
        InferenceInput.parse(request | fields)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("start", [{}, {"start": START}])
def test_a_stem_is_restyled_as_by_the_command_also_without_a_start(start: dict[str, Any]) -> None:
    request = {"mode": "remix", "restyle": {"bass": "choir"}} | RECORDING
    inputs = InferenceInput.parse(request | start)
    assert inputs.start.denoising == inputs.end.denoising == 0.5


@pytest.mark.parametrize("mode", ["img2img", "repaint", "stems"])
def test_a_remix_of_nothing_may_be_in_requests_of_other_modes(mode: str) -> None:
    request: dict[str, Any] = {"mode": mode, "start": START}
    if mode != "img2img":
        request |= RECORDING
    if mode == "repaint":
        request["region"] = {"from_s": 0, "to_s": 1}
    parsed = InferenceInput.parse(request | {"gain_db": {}, "mute": [], "restyle": {}})
    assert parsed.gain_db == parsed.restyle == {}
    nulls = dict.fromkeys(("gain_db", "mute", "restyle", "loras", "prompts_at", "end"))
    assert InferenceInput.parse(request | nulls) == InferenceInput.parse(request)


def test_a_remix_takes_null_for_what_it_leaves() -> None:
    request = RECORDING | {"mode": "remix", "gain_db": {"drums": 6.0}}
    nulls = dict.fromkeys(("mute", "restyle", "loras"))
    assert InferenceInput.parse(request | nulls) == InferenceInput.parse(request)


def test_a_melody_is_sent_once() -> None:
    request = {"mode": "follow", "start": START, "init_midi": "a"}
    assert "denoising" not in InferenceInput.parse(request).start.model_fields_set
    with pytest.raises(InputError, match="init_midi: mode=follow takes it in place of init_audio"):
        InferenceInput.parse(request | RECORDING)


@pytest.mark.parametrize("mode", ["between", "loop", "retime", "stems", "remix"])
def test_modes_without_a_seed_need_no_prompt(mode: str) -> None:
    fields = BETWEEN if mode == "between" else RECORDING
    inputs = InferenceInput.parse({**fields, "mode": mode})
    assert (inputs.start.prompt, inputs.start.seed) == ("", 0)
    with pytest.raises(InputError, match=r"start\.seed"):
        InferenceInput.parse({**fields, "mode": mode, "start": {"prompt": "a"}})


def test_an_edits_answer_has_what_is_known() -> None:
    output = EditOutput(image="a", audio="b", duration_s=5.12, key="A minor")
    known = {"image": "a", "audio": "b", "duration_s": 5.12, "key": "A minor"}
    assert output.model_dump() == output.model_dump(mode="python") == known


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
