"""The rules of edits: which fields have an effect in which mode, and their defaults."""

from typing import Any

import pytest

from riffusion import edit_fields
from riffusion.datatypes import PRESETS, EditOutput, InferenceInput
from riffusion.errors import InputError
from tests.request_fields import BETWEEN, EDIT, RECORDING, SECTION, START


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
