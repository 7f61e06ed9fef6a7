"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

SCHEDULERS = "pndm, ddim, dpmsolver++, unipc, euler, euler_a, lms, lcm"
DEFAULT_SCHEDULER = "dpmsolver++"
DEFAULT_STEPS = 20
"""DPM-Solver++ draws in 20 steps what the checkpoint's own scheduler draws in 50."""

Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, mps; default the best there is.", show_default=False),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="Folder, .safetensors or .ckpt file, or hub id; default RIFFUSION_CHECKPOINT, else "
        "the embedded one.",
        show_default=False,
    ),
]
Steps = Annotated[
    int, typer.Option(help=f"Denoising steps, 1 to 150; {DEFAULT_STEPS} suit {DEFAULT_SCHEDULER}.")
]
Scheduler = Annotated[
    str,
    typer.Option(help=f"Sampler: {SCHEDULERS}; or `checkpoint` for the checkpoint's own."),
]
Preset = Annotated[
    str,
    typer.Option(help="Steps and sampler in one word: fast, balanced or reference."),
]
StepsOrNone = Annotated[
    int | None,
    typer.Option(help="Denoising steps, 1 to 150; default the preset's.", show_default=False),
]
SchedulerOrNone = Annotated[
    str | None,
    typer.Option(
        help=f"Sampler: {SCHEDULERS}; or `checkpoint` for the checkpoint's own; default the "
        "preset's.",
        show_default=False,
    ),
]
Guidance = Annotated[float, typer.Option(help="How closely to follow the prompt, 0 to 30.")]
NegativePrompt = Annotated[
    str | None, typer.Option(help="Text to stay away from.", show_default=False)
]
Denoising = Annotated[
    float | None,
    typer.Option(
        help="How much of what is painted over is repainted, 0 to 1; default 0.75.",
        show_default=False,
    ),
]

AudioOutput = Annotated[
    Path, typer.Option("--output", "-o", help="Audio to write: .mp3, .wav, .flac, .ogg or .m4a.")
]
ImageOutput = Annotated[
    Path | None,
    typer.Option(help="Write the image too: .png, .jpg or .webp.", show_default=False),
]
SeedImage = Annotated[
    str | None,
    typer.Option(help="Paint over a loop (ids: seed-image --list), or over an image file."),
]
InitImage = Annotated[Path | None, typer.Option(help="Paint over an image.", show_default=False)]
InitAudio = Annotated[
    Path | None,
    typer.Option(help="Paint over the sound of a file, up to 60 s.", show_default=False),
]
MaskImage = Annotated[
    str | None, typer.Option(help="Id or image file: white is repainted, black is kept.")
]

StepSizeMs = Annotated[int, typer.Option(help="Time of one column of the image.")]
NumFrequencies = Annotated[int, typer.Option(help="Rows of the image: mel bands.")]
MinFrequency = Annotated[int, typer.Option(help="Lowest frequency in Hz.")]
MaxFrequency = Annotated[int, typer.Option(help="Highest frequency in Hz.")]
WindowDurationMs = Annotated[int, typer.Option(help="Length of the Hann window.")]
PaddedDurationMs = Annotated[int, typer.Option(help="Length of the FFT, at least the window's.")]
PowerForImage = Annotated[float, typer.Option(help="Exponent from amplitude to brightness.")]
WindowDurationMsOrNone = Annotated[
    int | None, typer.Option(help="Length of the Hann window.", show_default=False)
]
PaddedDurationMsOrNone = Annotated[
    int | None, typer.Option(help="Length of the FFT.", show_default=False)
]
MinFrequencyOrNone = Annotated[
    int | None, typer.Option(help="Lowest frequency in Hz.", show_default=False)
]
MaxFrequencyOrNone = Annotated[
    int | None, typer.Option(help="Highest frequency in Hz.", show_default=False)
]
PowerForImageOrNone = Annotated[
    float | None, typer.Option(help="Exponent of the brightness.", show_default=False)
]
Stereo = Annotated[bool, typer.Option("--stereo", help="Two channels, in G and B.")]
SampleRate = Annotated[int, typer.Option(help="Rate in Hz that the audio is resampled to.")]

DurationMs = Annotated[int, typer.Option(help="Length of each clip.")]
Mono = Annotated[bool, typer.Option("--mono", help="Mix down to one channel.")]
ClipExtension = Annotated[str, typer.Option(help="Format of the clips: mp3, wav, flac, ogg, m4a.")]
SamplingSeed = Annotated[int, typer.Option(help="Same seed, same clips; -1 for others each time.")]

AudioDir = Annotated[str, typer.Option(help="Folder with audio files.")]
OutputDir = Annotated[str, typer.Option(help="Folder to write to; made if it is not there.")]
NumThreads = Annotated[
    int | None, typer.Option(help="Files worked on at once; default one a CPU.", show_default=False)
]
Glob = Annotated[str, typer.Option(help="Which files of the folder; ** goes into subfolders.")]
Limit = Annotated[int, typer.Option(help="Only so many files, in order; -1 for all.")]
