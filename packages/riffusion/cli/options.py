"""Options that several commands share, one annotated type per option."""

from pathlib import Path
from typing import Annotated, Literal

import typer

SCHEDULERS = "pndm, ddim, dpmsolver++, unipc, euler, euler_a, lms, lcm"
DEFAULT_SCHEDULER = "dpmsolver++"
DEFAULT_STEPS = 20
"""DPM-Solver++ needs 20 steps for the quality that the checkpoint's own scheduler has at 50."""
DEFAULT_LOOP = "og_beat"
"""Seed image of `interpolate` and `jam`, and style of `seed-image`, where none is given."""

Loras = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        help="LoRA for the checkpoint: a file or folder of diffusers, PEFT or kohya, with its "
        "weight after a colon, such as bells.safetensors:0.8; default: 1. May be given several "
        "times.",
        show_default=False,
    ),
]
Embeddings = Annotated[
    list[Path] | None,
    typer.Option(
        "--embedding",
        help="File with the embedding of a new word (textual inversion), which prompts can then "
        "use. May be given several times.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1 or mps; default: the best available.", show_default=False),
]
EngineOption = Annotated[
    Literal["torch", "light"] | None,
    typer.Option(
        "--engine",
        help="What runs the networks: torch, or light, which is onnxruntime without torch and "
        "starts sooner, for exported checkpoints on the CPU; default: torch if it is installed.",
        show_default=False,
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="Checkpoint: a folder, a .safetensors or .ckpt file, or a Hugging Face id. Default: "
        "the environment variable RIFFUSION_CHECKPOINT, else the embedded checkpoint.",
        show_default=False,
    ),
]
Steps = Annotated[
    int,
    typer.Option(
        help=f"Denoising steps, 1 to 150; {DEFAULT_STEPS} are enough for {DEFAULT_SCHEDULER}."
    ),
]
Scheduler = Annotated[
    str,
    typer.Option(help=f"Sampler: {SCHEDULERS}, or `checkpoint` for the checkpoint's own."),
]
PRESETS = "instant (with a distilled checkpoint), fast, balanced or reference"
PresetOrNone = Annotated[
    str | None,
    typer.Option(
        help=f"Sets steps and sampler together: {PRESETS}; default: balanced.",
        show_default=False,
    ),
]
JamPreset = Annotated[
    str | None,
    typer.Option(
        help=f"Sets steps and sampler together: {PRESETS}; default: instant if the checkpoint is "
        "distilled and the other options allow it, else balanced.",
        show_default=False,
    ),
]
StepsOrNone = Annotated[
    int | None,
    typer.Option(help="Denoising steps, 1 to 150; default: the preset's.", show_default=False),
]
SchedulerOrNone = Annotated[
    str | None,
    typer.Option(
        help=f"Sampler: {SCHEDULERS}, or `checkpoint` for the checkpoint's own; default: the "
        "preset's.",
        show_default=False,
    ),
]
Guidance = Annotated[float, typer.Option(help="How closely to follow the prompt, 0 to 30.")]
NegativePrompt = Annotated[
    str | None, typer.Option(help="Text that describes what to avoid.", show_default=False)
]
Denoising = Annotated[
    float | None,
    typer.Option(
        help="How much of the starting image or audio to change, from 0 (nothing) to 1 "
        "(everything); default: 0.75.",
        show_default=False,
    ),
]
EditDenoising = Annotated[
    float | None,
    typer.Option(help="How much changes, from 0 (nothing) to 1 (everything).", show_default=False),
]

AudioOutput = Annotated[
    Path,
    typer.Option("--output", "-o", help="Audio file to write: .mp3, .wav, .flac, .ogg or .m4a."),
]
ImageOutput = Annotated[
    Path | None,
    typer.Option(help="Also write the spectrogram image: .png, .jpg or .webp.", show_default=False),
]
SeedImage = Annotated[
    str | None,
    typer.Option(
        help="Start from a loop, by its id (`riffusion seed-image --list` shows all), or from an "
        "image file."
    ),
]
InitImage = Annotated[
    Path | None, typer.Option(help="Start from this image file.", show_default=False)
]
InitAudio = Annotated[
    Path | None,
    typer.Option(help="Start from this audio file, up to 60 s.", show_default=False),
]
MaskImage = Annotated[
    str | None,
    typer.Option(
        help="Mask, by its id or an image file: white areas change, black areas are kept."
    ),
]

StepSizeMs = Annotated[int, typer.Option(help="Milliseconds per frame (column of the image).")]
NumFrequencies = Annotated[int, typer.Option(help="Number of mel bands (rows of the image).")]
MinFrequency = Annotated[int, typer.Option(help="Lowest frequency in Hz.")]
MaxFrequency = Annotated[int, typer.Option(help="Highest frequency in Hz.")]
WindowDurationMs = Annotated[int, typer.Option(help="Length of the Hann window in ms.")]
PaddedDurationMs = Annotated[
    int, typer.Option(help="Length of the FFT in ms, at least that of the window.")
]
PowerForImage = Annotated[
    float, typer.Option(help="Exponent that turns amplitude into brightness.")
]
WindowDurationMsOrNone = Annotated[
    int | None, typer.Option(help="Length of the Hann window in ms.", show_default=False)
]
PaddedDurationMsOrNone = Annotated[
    int | None,
    typer.Option(help="Length of the FFT in ms, at least that of the window.", show_default=False),
]
MinFrequencyOrNone = Annotated[
    int | None, typer.Option(help="Lowest frequency in Hz.", show_default=False)
]
MaxFrequencyOrNone = Annotated[
    int | None, typer.Option(help="Highest frequency in Hz.", show_default=False)
]
PowerForImageOrNone = Annotated[
    float | None,
    typer.Option(help="Exponent that turns amplitude into brightness.", show_default=False),
]
Stereo = Annotated[
    bool,
    typer.Option(
        "--stereo", help="Keep two channels: left in the image's green, right in its blue."
    ),
]
SampleRate = Annotated[int, typer.Option(help="Sample rate in Hz; the audio is resampled to it.")]

DurationMs = Annotated[int, typer.Option(help="Length of each clip in ms.")]
Mono = Annotated[bool, typer.Option("--mono", help="Mix down to one channel.")]
ClipExtension = Annotated[
    str, typer.Option(help="Format of the clips: mp3, wav, flac, ogg or m4a.")
]
SamplingSeed = Annotated[
    int,
    typer.Option(help="The same seed cuts the same clips; -1 cuts different ones in every run."),
]

AudioDir = Annotated[str, typer.Option(help="Folder with audio files.")]
OutputDir = Annotated[str, typer.Option(help="Folder to write to; created if it does not exist.")]
NumThreads = Annotated[
    int | None,
    typer.Option(
        help="Number of files to process in parallel; default: one per CPU core.",
        show_default=False,
    ),
]
Glob = Annotated[
    str, typer.Option(help="Pattern of the file names to read; ** includes subfolders.")
]
Limit = Annotated[
    int, typer.Option(help="Maximum number of files, in order of their names; -1 for all.")
]
