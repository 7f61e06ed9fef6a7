"""Groups of options: one dataclass parameter of a command stands for several options.

    @expand_option_groups
    def generate(prompt: str, *, model: CheckpointOptions) -> None: ...

    generate("church bells", checkpoint="a/folder", device="cpu")

The decorated function takes each field of the dataclass as a keyword argument of its own, so Typer
shows each as an option, and Python callers never see the dataclass.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, get_type_hints

from riffusion.cli import options
from riffusion.cli.adapters import add_embeddings, add_loras, checked_adapters, lora_file_from
from riffusion.cli.clip_requests import InitOptions, scheduler_field, strength_field
from riffusion.spectrogram.params import SpectrogramParams

if TYPE_CHECKING:
    from riffusion.generation.generator import ClipGenerator


def expand_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each dataclass parameter of a command by one keyword parameter per field.

    The fields take the parameter's place in the signature, in order, with their annotations and
    defaults. Defaults are values; `default_factory` is not supported.

    Raises:
        ValueError: two options have the same name.
    """
    grouped = inspect.signature(command, eval_str=True)
    groups: dict[str, type[Any]] = {
        name: parameter.annotation
        for name, parameter in grouped.parameters.items()
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)
    }
    expanded = grouped.replace(
        parameters=[
            option
            for name, parameter in grouped.parameters.items()
            for option in (_options(groups[name]) if name in groups else [parameter])
        ]
    )

    @functools.wraps(command)
    def with_groups(*args: Any, **kwargs: Any) -> None:
        bound = expanded.bind(*args, **kwargs)
        bound.apply_defaults()
        values = bound.arguments
        collected = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **collected)

    # Typer reads both: the signature for parameters, the annotations for type hints.
    with_groups.__signature__ = expanded  # type: ignore[attr-defined]
    with_groups.__annotations__ = {
        name: parameter.annotation for name, parameter in expanded.parameters.items()
    }
    return with_groups


def _options(group: type[Any]) -> list[inspect.Parameter]:
    """A keyword parameter for each field of a dataclass."""
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=(inspect.Parameter.empty if field.default is MISSING else field.default),
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


@dataclass(frozen=True)
class CheckpointOptions:
    """Which checkpoint to load, on which device, and what runs it."""

    checkpoint: options.Checkpoint = None
    device: options.Device = None
    engine: options.EngineOption = None


@dataclass(frozen=True)
class AdapterOptions:
    """What is added to the checkpoint: LoRAs and new words."""

    lora: options.Loras = None
    embedding: options.Embeddings = None

    def request_fields(self, model: CheckpointOptions) -> dict[str, Any]:
        """The request's fields beside `start` and `end`.

        Args:
            model: what they are added to.

        Raises:
            InputError: the engine can't add them, a file isn't there, or it is no LoRA or embedding
                of Stable Diffusion 1.x.
        """
        files = checked_adapters(self.lora or (), self.embedding or (), model.engine)
        return {"loras": [file.request_field() for file in files]}

    def add_embeddings_to(self, generator: "ClipGenerator") -> None:
        """Make the new words available to a generator's requests, for good.

        Raises:
            InputError: one doesn't fit the checkpoint.
        """
        add_embeddings(generator, self.embedding or ())

    def add_loras_to(self, generator: "ClipGenerator") -> None:
        """Make the LoRAs available to a generator's requests, in place of others.

        Raises:
            InputError: one doesn't fit the checkpoint.
        """
        add_loras(generator, [lora_file_from(text) for text in self.lora or ()])


@dataclass(frozen=True)
class PresetDiffusionOptions:
    """Settings of the diffusion; steps and scheduler are the preset's if they are not given."""

    steps: options.StepsOrNone = None
    scheduler: options.SchedulerOrNone = None
    guidance: options.Guidance = 5.0
    negative_prompt: options.NegativePrompt = None
    denoising: options.Denoising = None

    def prompt_fields(self) -> dict[str, Any]:
        """The request's fields inside `start` and `end`."""
        return {
            "negative_prompt": self.negative_prompt,
            "guidance": self.guidance,
            **strength_field(self.denoising),
        }

    def request_fields(self) -> dict[str, Any]:
        """The request's fields beside `start` and `end`."""
        values: dict[str, Any] = {}
        if self.steps is not None:
            values["num_inference_steps"] = self.steps
        if self.scheduler is not None:
            values["scheduler"] = scheduler_field(self.scheduler)
        return values


@dataclass(frozen=True)
class DiffusionOptions(PresetDiffusionOptions):
    """Settings of the diffusion and a preset; without one, 20 steps of DPM-Solver++."""

    guidance: options.Guidance = 7.0
    preset: options.PresetOrNone = None

    def request_fields(self) -> dict[str, Any]:
        """The request's fields beside `start` and `end`."""
        given = super().request_fields()
        if self.preset is not None:
            return preset_fields(self.preset, given)
        return {
            "num_inference_steps": options.DEFAULT_STEPS,
            "scheduler": options.DEFAULT_SCHEDULER,
            **given,
        }


@dataclass(frozen=True)
class EditOptions(DiffusionOptions):
    """Settings of the diffusion in an edit of a recording."""

    denoising: options.EditDenoising = None

    def edit_fields(self, denoising: float) -> dict[str, Any]:
        """The request's fields inside `start`, with the edit's own default for `denoising`."""
        return {"denoising": denoising, **self.prompt_fields()}


def preset_fields(preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The request's fields for a preset, and those that were given beside it.

    In a request, a scheduler of null stands for the preset's. So if the checkpoint's own scheduler
    was asked for, the preset's other fields are written out.
    """
    from riffusion.datatypes import PRESETS

    if given.get("scheduler", "") is None and preset in PRESETS:
        return {**PRESETS[preset], **given}
    return {"preset": preset, **given}


@dataclass(frozen=True)
class SpectrogramOptions:
    """Spectrogram parameters of audio that becomes images."""

    step_size_ms: options.StepSizeMs = 10
    num_frequencies: options.NumFrequencies = 512
    min_frequency: options.MinFrequency = 0
    max_frequency: options.MaxFrequency = 10000
    window_duration_ms: options.WindowDurationMs = 100
    padded_duration_ms: options.PaddedDurationMs = 400
    power_for_image: options.PowerForImage = 0.25

    def params(self, *, stereo: bool, sample_rate: int) -> SpectrogramParams:
        """The spectrogram parameters.

        Raises:
            SpectrogramParamsError: a value is out of range.
        """
        return SpectrogramParams(stereo=stereo, sample_rate=sample_rate, **asdict(self))


@dataclass(frozen=True)
class SpectrogramOverrides:
    """Spectrogram parameters to use in place of others; None keeps the other value."""

    window_duration_ms: options.WindowDurationMsOrNone = None
    padded_duration_ms: options.PaddedDurationMsOrNone = None
    min_frequency: options.MinFrequencyOrNone = None
    max_frequency: options.MaxFrequencyOrNone = None
    power_for_image: options.PowerForImageOrNone = None

    def by_name(self) -> dict[str, int | float | None]:
        """Values by the names of the spectrogram parameters."""
        return asdict(self)


def with_default_loop(init: InitOptions) -> InitOptions:
    """The options, with the default loop to start from if none of them says what to start from."""
    if init.seed_image is None and init.init_image is None and init.init_audio is None:
        return replace(init, seed_image=options.DEFAULT_LOOP)
    return init
