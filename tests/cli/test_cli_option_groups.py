"""Groups of options: the command with groups is the command with its options written out."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from riffusion import cli
from riffusion.cli.app import run
from riffusion.cli.clip_requests import InitOptions
from riffusion.cli.option_groups import (
    DiffusionOptions,
    PresetDiffusionOptions,
    SpectrogramOptions,
    SpectrogramOverrides,
    expand_option_groups,
    with_default_loop,
)
from riffusion.spectrogram.params import SpectrogramParams

Song = Annotated[str, typer.Argument(help="Song.")]
Bar = Annotated[int, typer.Option(help="Bar of the song.")]
Volume = Annotated[float, typer.Option(help="Volume, [0, 11].")]
Channel = Annotated[str, typer.Option("--channel", "-c", help="Channel.")]
Reverb = Annotated[bool, typer.Option("--reverb", help="Add reverb.")]


@dataclass(frozen=True)
class Amplifier:
    volume: Volume
    channel: Channel = "clean"


@dataclass(frozen=True)
class LoudAmplifier(Amplifier):
    volume: Volume = 11.0


@dataclass(frozen=True)
class Room:
    reverb: Reverb = False


def _grouped(calls: list[tuple[Any, ...]]) -> Callable[..., None]:
    @expand_option_groups
    def play(
        song: Song,
        *,
        first: Bar = 1,
        amplifier: "Amplifier",
        room: Room,
        last: Bar = 99,
    ) -> None:
        """Play a song."""
        calls.append((song, first, amplifier, room, last))

    return play


def _written_out(
    song: Song,
    *,
    first: Bar = 1,
    volume: Volume,
    channel: Channel = "clean",
    reverb: Reverb = False,
    last: Bar = 99,
) -> None:
    """Play a song."""


def _app(command: Callable[..., None]) -> typer.Typer:
    application = typer.Typer(add_completion=False, rich_markup_mode=None)
    application.command("play")(command)
    return application


def test_the_help_is_that_of_the_options_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    helps = []
    for command in (_grouped([]), _written_out):
        assert run(_app(command), ["--help"], name="play") == 0
        helps.append(capsys.readouterr().out)
    assert helps[0] == helps[1]
    assert "-c, --channel" in helps[0]


def test_the_signature_is_that_of_the_options_written_out() -> None:
    grouped, written_out = (
        inspect.signature(command).parameters for command in (_grouped([]), _written_out)
    )
    assert list(grouped.items()) == list(written_out.items())


def test_values_arrive_from_the_command_line() -> None:
    calls: list[tuple[Any, ...]] = []
    command = _app(_grouped(calls))
    assert run(command, ["blues", "--volume", "3", "-c", "lead", "--reverb", "--last", "12"]) == 0
    assert run(command, ["blues", "--volume", "4"]) == 0
    assert calls == [
        ("blues", 1, Amplifier(3.0, "lead"), Room(reverb=True), 12),
        ("blues", 1, Amplifier(4.0, "clean"), Room(), 99),
    ]


def test_values_arrive_from_python() -> None:
    calls: list[tuple[Any, ...]] = []
    play = _grouped(calls)
    play("blues", volume=3.0, first=2)
    play(song="blues", channel="lead", volume=4.0)
    assert calls == [
        ("blues", 2, Amplifier(3.0), Room(), 99),
        ("blues", 1, Amplifier(4.0, "lead"), Room(), 99),
    ]
    with pytest.raises(TypeError, match="volume"):
        play("blues")
    with pytest.raises(TypeError, match="amplifier"):
        play("blues", volume=3.0, amplifier=Amplifier(3.0))


def test_a_subclass_changes_defaults_but_not_the_order() -> None:
    @expand_option_groups
    def play(*, amplifier: LoudAmplifier) -> None:
        assert amplifier == LoudAmplifier(11.0, "clean")

    defaults = {p.name: p.default for p in inspect.signature(play).parameters.values()}
    assert list(defaults.items()) == [("volume", 11.0), ("channel", "clean")]
    play()


def test_two_options_of_one_name_are_refused() -> None:
    def play(*, volume: Volume = 1.0, amplifier: Amplifier) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'volume'"):
        expand_option_groups(play)


@pytest.mark.parametrize(
    ("function", "keywords"),
    [
        (
            cli.audio_to_image,
            "audio image step_size_ms num_frequencies min_frequency max_frequency "
            "window_duration_ms padded_duration_ms power_for_image stereo sample_rate device",
        ),
        (
            cli.image_to_audio,
            "image audio device stereo sample_rate step_size_ms window_duration_ms "
            "padded_duration_ms min_frequency max_frequency power_for_image",
        ),
        (cli.print_exif, "image"),
        (
            cli.sample_clips,
            "audio output_dir num_clips duration_ms mono extension seed",
        ),
        (
            cli.audio_to_images_batch,
            "audio_dir output_dir image_extension step_size_ms num_frequencies min_frequency "
            "max_frequency window_duration_ms padded_duration_ms power_for_image mono sample_rate "
            "device num_threads glob limit",
        ),
        (
            cli.sample_clips_batch,
            "audio_dir output_dir num_clips_per_file duration_ms mono extension num_threads glob "
            "limit seed",
        ),
    ],
)
def test_upstreams_functions_keep_their_keywords(
    function: Callable[..., None], keywords: str
) -> None:
    parameters = inspect.signature(function).parameters
    assert list(parameters) == keywords.split()
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_spectrogram_options_have_the_usual_parameters_as_defaults() -> None:
    assert SpectrogramOptions().params(stereo=False, sample_rate=44100) == SpectrogramParams()
    changed = SpectrogramOptions(num_frequencies=64).params(stereo=True, sample_rate=22050)
    assert changed == SpectrogramParams(stereo=True, sample_rate=22050, num_frequencies=64)
    assert set(SpectrogramOverrides().by_name()) <= set(SpectrogramParams.__dataclass_fields__)


def test_diffusion_options_become_fields_of_the_request() -> None:
    assert PresetDiffusionOptions().request_fields() == {}  # the preset decides
    assert DiffusionOptions().request_fields() == {
        "num_inference_steps": 20,
        "scheduler": "dpmsolver++",
    }
    assert DiffusionOptions(scheduler="checkpoint").request_fields()["scheduler"] is None
    assert DiffusionOptions(negative_prompt="drums").prompt_fields() == {
        "negative_prompt": "drums",
        "guidance": 7.0,
    }
    assert DiffusionOptions(denoising=0.0).prompt_fields()["denoising"] == 0.0


def test_the_default_loop_is_used_where_nothing_to_start_from_is_given() -> None:
    assert with_default_loop(InitOptions()) == InitOptions(seed_image="og_beat")
    assert with_default_loop(InitOptions(mask_image="x")) == InitOptions("og_beat", mask_image="x")
    for init in (InitOptions("vibes"), InitOptions(init_audio=Path("a.wav"))):
        assert with_default_loop(init) == init
