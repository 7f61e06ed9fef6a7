"""The inference API's request and response. Upstream's fields keep their names and defaults."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)

from riffusion.edit_fields import (
    MAX_NUM_CLIPS,
    ClosenessOutput,
    EditMode,
    GainsDb,
    KeyName,
    PromptsAt,
    RegionInput,
    Seconds,
    StemNames,
    StemPrompts,
    Tempo,
    check_mode_fields,
    with_mode_defaults,
)
from riffusion.errors import InputError, shortened
from riffusion.music_limits import MAX_BEATS, MAX_SEMITONES
from riffusion.records import Prompt, Record, Request, as_tuple
from riffusion.unconditional_fields import (
    UNCONDITIONAL,
    check_unconditional_fields,
    with_unconditional_defaults,
)

CLIP_DURATION_S = 5.12
"""Duration of 512 frames of 10 ms: the clips that the published checkpoint was trained on."""
MAX_DURATION_S = 60.0
DEFAULT_GUIDANCE = 7.0
MAX_MEDIA_CHARACTERS = 32 * 2**20
"""Limit of a base64 field; it holds 24 MiB of bytes."""

PROMISES = ("tempo_bpm", "key", "beats")
"""Request fields that are promises of mode=img2img: what they ask for is checked in the clip."""

Mode = Literal["img2img", "txt2img", "image_to_audio", EditMode, "unconditional"]
SchedulerName = Literal["pndm", "ddim", "dpmsolver++", "unipc", "euler", "euler_a", "lms", "lcm"]
RequestScheduler = Literal[SchedulerName, "ddpm"]
"""ddpm is for mode=unconditional only."""
PresetName = Literal["instant", "fast", "balanced", "reference"]
AudioFormat = Literal["mp3", "wav", "flac", "ogg"]
ImageFormat = Literal["jpeg", "png", "webp"]

PRESETS: dict[str, dict[str, Any]] = {
    "instant": {"scheduler": "lcm", "num_inference_steps": 4},
    "fast": {
        "scheduler": "dpmsolver++",
        "num_inference_steps": 10,
        "guidance_interval": (0.0, 0.5),
    },
    "balanced": {
        "scheduler": "dpmsolver++",
        "num_inference_steps": 20,
        "guidance_interval": (0.0, 0.5),
    },
    "reference": {"scheduler": "pndm", "num_inference_steps": 50},
}
"""Request fields by preset; docs/benchmarks.md has the measurements behind them.

`instant` needs a distilled checkpoint.
"""

MediaText = Annotated[str, Field(min_length=1, max_length=MAX_MEDIA_CHARACTERS)]
ImageId = Annotated[str, Field(min_length=1, max_length=100)]
LoraId = Annotated[str, Field(min_length=1, max_length=4096)]
MAX_LORAS = 8


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    first, last = interval
    if first > last:
        raise ValueError(f"[{first:g}, {last:g}] must be in ascending order")
    return interval


Share = Annotated[float, Field(ge=0, le=1)]
GuidanceInterval = Annotated[
    tuple[Share, Share], BeforeValidator(as_tuple), AfterValidator(_ordered)
]


def _plain_int(value: object) -> object:
    """Convert a NumPy integer, as scripts draw seeds, to a Python integer."""
    return int(value) if isinstance(value, np.integer) else value


class PromptInput(Request):
    """One end of an interpolation."""

    prompt: Prompt
    """What the clip should sound like; `(word:1.5)`, `((word))` and `[word]` weight parts of it."""
    seed: Annotated[int, Field(ge=0, lt=2**63), BeforeValidator(_plain_int)]
    """Seed of the noise. The same seed gives the same clip on every device."""
    negative_prompt: Prompt | None = None
    """What the clip should not sound like."""
    denoising: Annotated[float, Field(ge=0, le=1)] = 0.75
    """How much the init image is changed: 1 ignores it, 0 only passes it through the VAE. In
    mode=unconditional the share of the steps that a variation of `init_audio` takes."""
    guidance: Annotated[float, Field(ge=0, le=30)] = DEFAULT_GUIDANCE
    """Classifier-free guidance scale; values up to 1 turn guidance off."""


class LoraInput(Request):
    """A LoRA that a request uses."""

    id: LoraId
    """One of the ids that the server's operator has made available."""
    weight: Annotated[float, Field(ge=-10, le=10)] = 1.0
    """1 is the strength that it was trained for; 0 turns it off."""


_NO_SCHEDULER = ("scheduler", None)
_NULL_IS_DEFAULT = ("end", "loras", "prompts_at", "mute")
"""Fields whose null stands for their default. Others whose default is null take it as it is."""

_ABOUT_FIELDS = ("default", "description", "title")
"""Keywords of a JSON schema that aren't about the value's type."""


def _or_null(schema: dict[str, Any]) -> None:
    """Allow null in a field's JSON schema."""
    value = {key: schema.pop(key) for key in list(schema) if key not in _ABOUT_FIELDS}
    schema["anyOf"] = [value, {"type": "null"}]


class InferenceInput(Request):
    """One clip: an interpolation between two prompts, starting from an init image."""

    start: PromptInput
    end: Annotated[
        PromptInput,
        Field(default_factory=lambda valid: valid["start"], json_schema_extra=_or_null),
    ]
    """Default: the same as `start`."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Position between `start` (0) and `end` (1)."""
    num_inference_steps: Annotated[int, Field(ge=1, le=150)] = 50
    """Without it, mode=unconditional takes 50 with ddim, and 1000 with ddpm."""
    seed_image_id: ImageId = "og_beat"
    mask_image_id: ImageId | None = None

    mode: Mode = "img2img"
    duration_s: Annotated[float, Field(gt=0, le=MAX_DURATION_S)] | None = None
    """Length of a txt2img clip in seconds; default 5.12."""
    init_image: MediaText | None = None
    """An image as base64 or data URL, in place of `seed_image_id`."""
    init_audio: MediaText | None = None
    """Audio as base64 or data URL, in place of `seed_image_id`; the recording that a mode edits, or
    that mode=unconditional varies."""
    mask_image: MediaText | None = None
    """A mask as base64 or data URL: white is repainted, black is kept."""
    scheduler: RequestScheduler | None = None
    """Default: the checkpoint's own."""
    preset: PresetName | None = None
    """Default for scheduler, steps and guidance interval; fields that are given take precedence."""
    guidance_interval: GuidanceInterval = (0.0, 1.0)
    """Guidance applies from the first to the second share of the steps; others cost half."""
    loras: Annotated[
        tuple[LoraInput, ...],
        Field(max_length=MAX_LORAS, json_schema_extra=_or_null),
        BeforeValidator(as_tuple),
    ] = ()
    """LoRAs that change the checkpoint for this clip, by id."""
    region: RegionInput | None = None
    """The section that mode=repaint replaces."""
    prompts_at: Annotated[PromptsAt, Field(json_schema_extra=_or_null)] = ()
    """Further prompts of mode=restyle; between two of them the music moves from one to the next."""
    init_audio_b: MediaText | None = None
    """The recording that mode=between leads to, as base64 or data URL."""
    num_clips: Annotated[int, Field(ge=2, le=MAX_NUM_CLIPS)] | None = None
    """Clips of mode=between, the first and the last one included; default: 6."""
    amount: Share | None = None
    """How much changes in mode=vary, from 0 (nothing) to 1 (everything); default: 0.2."""
    after_s: Seconds | None = None
    """How long the recording continues in mode=extend; default: 10, or 0 with `before_s`."""
    before_s: Seconds | None = None
    """How much comes before the recording's start in mode=extend."""
    beats: Annotated[int, Field(ge=1, le=MAX_BEATS)] | None = None
    """Length in beats: of the loop in mode=loop (default: 8), or a promise of mode=img2img."""
    from_s: Seconds | None = None
    """The loop begins at the downbeat nearest to this time; default: the one with the best seam."""
    tempo_bpm: Tempo | None = None
    """Tempo of the answer, for modes loop and retime; the recording's own for mode=extend. In
    mode=img2img a promise: the clip is checked, and put right or drawn again."""
    from_tempo_bpm: Tempo | None = None
    """The recording's tempo, for modes loop and retime; default: it is found."""
    key: KeyName | None = None
    """The key that mode=retime moves the recording to, such as `A minor`. In mode=img2img a
    promise, checked like the tempo."""
    semitones: Annotated[float, Field(ge=-MAX_SEMITONES, le=MAX_SEMITONES)] | None = None
    """How far mode=retime moves the pitch, instead of `key`; up is positive."""
    gain_db: GainsDb | None = None
    """Gains in dB of mode=remix, by the stem's name: drums, bass, harmonic, residual."""
    mute: Annotated[StemNames, Field(json_schema_extra=_or_null)] = ()
    """Stems that mode=remix leaves out."""
    restyle: StemPrompts | None = None
    """Texts of mode=remix by the stem's name: another sound for it, drawn as `start` says."""
    init_midi: MediaText | None = None
    """The melody of mode=follow as a MIDI file, in base64 or as data URL, in place of
    `init_audio`."""
    audio_format: AudioFormat = "mp3"
    image_format: ImageFormat = "jpeg"
    deadline_s: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Deadline in seconds; past it the request fails with 504."""
    stream: bool = False
    """Respond with newline-delimited JSON events: progress, then the result or an error."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {
            name: value
            for name, value in values.items()
            if value is not None or name not in _NULL_IS_DEFAULT
        }

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        preset = values.get("preset") if isinstance(values, Mapping) else None
        if not isinstance(preset, str) or preset not in PRESETS:
            return values
        # A scheduler of null stands for the default, here the preset's.
        given = {name: value for name, value in values.items() if (name, value) != _NO_SCHEDULER}
        return {**PRESETS[preset], **given}

    @model_validator(mode="before")
    @classmethod
    def _apply_mode_defaults(cls, values: Any) -> Any:
        return with_unconditional_defaults(with_mode_defaults(values))

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.mode == UNCONDITIONAL:
            check_unconditional_fields(self)
        elif self.scheduler == "ddpm":
            raise ValueError(f"scheduler: 'ddpm' is only for mode={UNCONDITIONAL}; leave it out")
        promised = [name for name in PROMISES if getattr(self, name) is not None]
        if promised and self.mode in ("txt2img", "image_to_audio"):
            raise ValueError(
                f"{promised[0]}: only for mode=img2img, whose init image is made for it; the clip "
                "lasts beats · 60 / tempo_bpm seconds"
            )
        if promised and self.duration_s is not None:
            raise ValueError(
                f"duration_s: excludes {promised[0]}; the clip lasts beats · 60 / tempo_bpm seconds"
            )
        if self.init_image is not None and self.init_audio is not None:
            raise ValueError("init_audio: excludes init_image; send one of them")
        if self.mask_image is not None and self.mask_image_id is not None:
            raise ValueError("mask_image: excludes mask_image_id; send one of them")
        if self.duration_s is not None and self.mode != "txt2img":
            raise ValueError(
                f"duration_s: only for mode=txt2img; the init image sets it in mode={self.mode}"
            )
        has_mask = self.mask_image is not None or self.mask_image_id is not None
        if has_mask and self.mode != "img2img":
            raise ValueError(f"mode: {self.mode} takes no mask; use img2img")
        has_init = self.init_image is not None or self.init_audio is not None
        if has_init and self.mode == "txt2img":
            raise ValueError("mode: txt2img takes no init_image or init_audio; use img2img")
        check_mode_fields(self.mode, self)
        return self

    @classmethod
    def parse(cls, values: object) -> Self:
        """Validate decoded JSON.

        Raises:
            InputError: the first invalid field, what is wrong with it and what is allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise input_error_from_validation(error) from error


class InferenceOutput(Record):
    """The clip: base64 data URLs without line breaks, and its duration."""

    image: str
    """Spectrogram image; its EXIF holds the parameters that the audio was made with."""
    audio: str
    duration_s: float


class EditOutput(InferenceOutput):
    """The edited recording, at its own rate and channels, and what is known about it."""

    image_from_s: float | None = None
    """Where in the audio the image begins: at the new section, for mode=repaint."""
    tempo_bpm: float | None = None
    """Tempo of the audio."""
    found_tempo_bpm: float | None = None
    """Tempo that was found in the recording, for modes loop and retime."""
    tempo_certainty: float | None = None
    """From 0 to 1."""
    other_tempo_bpm: float | None = None
    """Half or twice of what was found, whichever is likelier if the beat isn't what was found."""
    key: str | None = None
    """Key of the audio, such as `A minor`."""
    found_key: str | None = None
    """Key that was found in the recording."""
    key_certainty: float | None = None
    """From 0 to 1; low where another key fits as well."""
    semitones: float | None = None
    """By which the pitch was moved."""
    remark: str | None = None
    """What the wanted key has that the audio lacks, and how many samples clip."""
    beats: int | None = None
    """Length of the loop."""
    from_s: float | None = None
    """Where the loop begins in the recording."""
    to_s: float | None = None
    """Where it ends there."""
    seam_novelty: float | None = None
    """Strongest onset at the loop's seam, relative to those inside; at most 1 isn't heard."""
    stems: dict[str, str] | None = None
    """The stems of mode=stems by name, as `audio`. As wav or flac they add up to the recording, but
    for recordings of 32 bits, of which a flac keeps 24."""
    pitch_agreement: float | None = None
    """Share of the frames with a pitch that are within a quarter tone of mode=follow's melody."""
    denoising: float | None = None
    """What mode=follow was drawn with: 0.5, or less if the pitches agreed only then."""
    closeness: list[ClosenessOutput] | None = None
    """How close each recording comes back from its own noise, for modes between and vary."""

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """The fields as a dictionary, without those that aren't known."""
        return super().model_dump(**{"exclude_none": True, **options})


class PromisedOutput(InferenceOutput):
    """The answer to a request with `tempo_bpm`, `key` or `beats`: what is heard in the clip."""

    tempo_error_percent: float | None
    """Difference of the heard tempo from the wanted one in percent; null if no beat is heard."""
    key: str | None
    """The key that is heard, such as `A minor`; null if none is."""
    downbeats_s: list[float] | None
    """Times in seconds of the beats that begin a bar; null if no beat is heard."""
    remarks: list[str]
    """What isn't kept or can't be heard, and how certain that is; empty if all is kept."""


def input_error_from_validation(error: ValidationError) -> InputError:
    """The first error of a failed validation: `<field>: <what is wrong and what is allowed>`."""
    first = error.errors(include_url=False)[0]
    field = ".".join(_key_text(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    if not field and first["type"] == "value_error":
        return InputError(message)  # it names its field
    value = first.get("input")
    if first["type"] != "missing" and isinstance(value, (str, int, float)):
        message = f"{message}, not {shortened(repr(value))}"
    return InputError(message, field=field or "request")


def _key_text(key: int | str) -> str:
    """A key or an index of a request, whose sender chooses keys such as those of `gain_db`."""
    text = str(key)
    return shortened(text if text.isprintable() else repr(text))
