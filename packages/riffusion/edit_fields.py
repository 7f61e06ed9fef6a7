"""The modes that edit a recording, the fields that they take, and their defaults.

Everything that is known without the recording is checked here; `editing.modes` checks the rest.
"""

import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field

from riffusion.music_limits import TEMPO_RANGE_BPM
from riffusion.records import Prompt, Record, Request, as_tuple

EditMode = Literal[
    "repaint",
    "restyle",
    "extend",
    "between",
    "vary",
    "loop",
    "retime",
    "stems",
    "remix",
    "follow",
]
EDIT_MODES: tuple[str, ...] = get_args(EditMode)
MODES_WITHOUT_CHECKPOINT = ("loop", "retime", "stems")
MODES_WITHOUT_START = (*MODES_WITHOUT_CHECKPOINT, "between", "remix")
"""They need no prompt and no seed."""
MODES_OF_NOISE = ("between", "vary")
"""They find the noise that a recording is made from, by DDIM without guidance."""
_MODES_OF_TEXT = ("repaint", "restyle", "extend", "remix", "follow")
"""They draw as clips are drawn, with all settings of the diffusion; remix, if it has `restyle`."""

DEFAULT_DENOISING = {"repaint": 1.0, "restyle": 0.5, "extend": 0.7, "remix": 0.5}
"""How much an edit changes if the request doesn't say. `follow` tries several."""
DEFAULT_AFTER_S = 10.0
"""How long a recording continues if the request says nothing about it."""
DEFAULT_NOISE_STEPS = 20
"""Steps of DDIM to the noise, and back, if the request doesn't say."""
DEFAULT_NUM_CLIPS = 6
MAX_NUM_CLIPS = 100
"""Most clips of mode=between, or variations at once."""
DEFAULT_AMOUNT = 0.2
MAX_PROMPTS_AT = 100
MAX_GAIN_DB = 40.0
"""Highest gain of a stem; the lowest is its negative."""

Seconds = Annotated[float, Field(ge=0)]
Hertz = Annotated[float, Field(ge=0)]
Tempo = Annotated[float, Field(ge=TEMPO_RANGE_BPM[0], le=TEMPO_RANGE_BPM[1])]
KeyName = Annotated[str, Field(min_length=1, max_length=20)]


class RegionInput(Request):
    """A section of a recording, or a band of pitches within it."""

    from_s: Seconds
    to_s: Seconds
    low_hz: Hertz | None = None
    """Lowest frequency that changes; default: all."""
    high_hz: Hertz | None = None
    """Highest frequency that changes; default: all."""


class PromptAtInput(Request):
    """A prompt that the music reaches at a time of the recording."""

    at_s: Seconds
    prompt: Prompt


PromptsAt = Annotated[
    tuple[PromptAtInput, ...], Field(max_length=MAX_PROMPTS_AT), BeforeValidator(as_tuple)
]


StemName = Literal["drums", "bass", "harmonic", "residual"]
GainsDb = dict[StemName, Annotated[float, Field(ge=-MAX_GAIN_DB, le=MAX_GAIN_DB)]]
StemPrompts = dict[StemName, Prompt]
StemNames = Annotated[tuple[StemName, ...], Field(max_length=4), BeforeValidator(as_tuple)]


class ClosenessOutput(Record):
    """How close a recording comes back from its own noise."""

    image_error: float
    """Mean difference of the spectrogram images, in grey levels of 255."""
    autoencoder_error: float
    """The same for the autoencoder alone, which every edit passes through."""
    latents_db: float | None = None
    """Level of the latents relative to their error, in dB; absent if there is no error."""


MODES_OF_FIELD: dict[str, tuple[str, ...]] = {
    "region": ("repaint",),
    "prompts_at": ("restyle",),
    "init_audio_b": ("between",),
    "num_clips": ("between",),
    "amount": ("vary",),
    "after_s": ("extend",),
    "before_s": ("extend",),
    "beats": ("img2img", "loop"),
    "from_s": ("loop",),
    "tempo_bpm": ("img2img", "extend", "loop", "retime"),
    "from_tempo_bpm": ("loop", "retime"),
    "key": ("img2img", "retime"),
    "semitones": ("retime",),
    "gain_db": ("remix",),
    "mute": ("remix",),
    "restyle": ("remix",),
    "init_midi": ("follow",),
}
"""Which modes take a field; others refuse it."""
_REQUIRED = {"repaint": ("region",), "between": ("init_audio_b",)}
_EDIT_MODES_OF_SETTING: dict[str, tuple[str, ...]] = {
    "preset": _MODES_OF_TEXT,  # before the settings that it stands for
    "num_inference_steps": (*_MODES_OF_TEXT, *MODES_OF_NOISE),
    "scheduler": (*_MODES_OF_TEXT, *MODES_OF_NOISE),
    "guidance_interval": _MODES_OF_TEXT,
    "seed_image_id": (),
}
"""Which of the modes that edit a recording take a setting of clips."""
_EDIT_MODES_OF_PROMPT_SETTING = dict.fromkeys(
    ("negative_prompt", "denoising", "guidance"), _MODES_OF_TEXT
)
"""The same for settings within `start` and `end`."""


def with_mode_defaults(values: Any) -> Any:
    """A request's values with the defaults of its mode: `start`, its `denoising`, and sampling."""
    mode = values.get("mode") if isinstance(values, Mapping) else None
    if not isinstance(mode, str):
        return values
    if mode in MODES_OF_NOISE:  # before a preset's values
        values = {"num_inference_steps": DEFAULT_NOISE_STEPS, **values}
        values["scheduler"] = "ddim" if values.get("scheduler") is None else values["scheduler"]
    if mode in MODES_WITHOUT_START and "start" not in values:
        values = {**values, "start": {"prompt": "", "seed": 0}}
    if mode in DEFAULT_DENOISING and _draws(mode, values.get("restyle")):
        prompts = {
            name: {"denoising": DEFAULT_DENOISING[mode], **prompt}
            for name in ("start", "end")
            if isinstance(prompt := values.get(name), Mapping)
        }
        return {**values, **prompts}
    return values


def check_mode_fields(mode: str, request: BaseModel) -> None:
    """Check that a request has what its mode needs, and nothing that has no effect in it.

    A setting of clips at its default doesn't count: clients send all of them with every request.

    Args:
        mode: any mode.
        request: the request.

    Raises:
        ValueError: the field, what is wrong with it, and the remedy.
    """
    fields = request.__dict__
    for name, modes in MODES_OF_FIELD.items():
        if fields[name] not in (None, (), {}) and mode not in modes:
            allowed = " or ".join(f"mode={each}" for each in modes)
            raise ValueError(f"{name}: only for {allowed}, not for mode={mode}; leave it out")
    if fields["loras"] and not _draws(mode, fields["restyle"]):
        raise ValueError(f"loras: mode={mode} draws nothing with the checkpoint; leave them out")
    if mode not in EDIT_MODES:
        return
    if fields["init_image"] is not None:
        raise ValueError(f"init_image: mode={mode} edits a recording; send it as init_audio")
    if fields["init_midi"] is not None and fields["init_audio"] is not None:
        raise ValueError(
            f"init_midi: mode={mode} takes it in place of init_audio; send one of them"
        )
    if fields["init_audio"] is None and fields["init_midi"] is None:
        raise ValueError(
            f"init_audio: mode={mode} edits a recording; send it as base64 or as a data URL"
        )
    for name in _REQUIRED.get(mode, ()):
        if fields[name] is None:
            raise ValueError(f"{name}: mode={mode} needs it")
    if fields["alpha"] != 0:
        raise ValueError(
            f"alpha: {fields['alpha']:g} has no meaning for mode={mode}, which isn't at one place "
            "between start and end; leave it out"
        )
    if mode in MODES_OF_NOISE and fields["scheduler"] != "ddim":
        raise ValueError(
            f"scheduler: {fields['scheduler']!r} must be 'ddim' for mode={mode}, which takes its "
            "steps backwards, too; leave it out"
        )
    _check_settings(mode, request)


def _check_settings(mode: str, request: BaseModel) -> None:
    """Check that all settings of a request that edits a recording have an effect.

    Raises:
        ValueError: the field, the modes that take it, and the remedy.
    """
    start, end = request.__dict__["start"], request.__dict__["end"]
    if mode == "remix" and not _draws(mode, request.__dict__["restyle"]):
        mode = "remix without restyle"
    check_taken(mode, request, _EDIT_MODES_OF_SETTING)
    check_taken(mode, start, _EDIT_MODES_OF_PROMPT_SETTING, "start.")
    if mode == "between":
        check_taken(mode, end, _EDIT_MODES_OF_PROMPT_SETTING, "end.")
    elif end != start:
        raise ValueError(
            f"end: has no effect in mode={mode}, of the edits only in mode=between; leave it out"
        )


def _draws(mode: str, restyle: object) -> bool:
    """Whether the checkpoint draws in a mode. A remix of levels alone takes no setting of that."""
    if mode == "remix":
        return bool(restyle)
    return mode not in (*MODES_WITHOUT_CHECKPOINT, "image_to_audio")


def check_taken(
    mode: str, values: BaseModel, modes_of: Mapping[str, tuple[str, ...]], within: str = ""
) -> None:
    """Check that a mode takes all values that aren't at their defaults.

    Args:
        mode: the mode.
        values: a request, or an object in it.
        modes_of: names of values, and the modes that edit a recording and take them.
        within: prefix of the names in errors.

    Raises:
        ValueError: the field, the modes that take it, and the remedy.
    """
    for name, modes in modes_of.items():
        value = getattr(values, name)
        if mode in modes or value == type(values).model_fields[name].default:
            continue
        allowed = f", of the edits only in mode={' or '.join(modes)}" if modes else ""
        raise ValueError(
            f"{within}{name}: {reprlib.repr(value)} has no effect in mode={mode}{allowed}; "
            "leave it out"
        )
