"""The `riffusion` command: one module per command, or per group of similar commands.

    app                 all commands in one application; errors become lines and exit codes
    generate            audio from text
    interpolate         a piece that moves from one text to another
    jam                 a long piece of changing music
    stems               a recording taken apart, and put together with other gains
    spectrograms        audio ⇄ spectrogram images, for one file or a folder
    clips               short clips cut out of recordings
    seed_images         loops that clips can start from
    dataset_build, dataset_synthesize, dataset_encode, dataset_shard     data sets for training
    train, evaluate     training and scoring of checkpoints
    export              checkpoints as graphs that run without torch
    serve, server       the local servers; upstream's command for them
    predict             a request file sent to an endpoint

    options             options that several commands share
    option_groups       dataclasses of options, and the decorator that expands them
    option_names        option names in place of field names in errors
    clip_requests       options → request
    clip_maker          a loaded checkpoint that makes clips
    batch               the same work for every file in a folder
    outputs, progress   output files; progress bars

Upstream's functions are available here under upstream's names, as plain functions with keyword
arguments. They raise the exceptions of `riffusion.errors`; only `main` turns these into exit codes.
Importing this package is fast: each command imports torch and other large packages when it runs.
"""

from riffusion.cli.app import main
from riffusion.cli.clips import sample_clips, sample_clips_batch
from riffusion.cli.spectrograms import (
    audio_to_image,
    audio_to_images_batch,
    image_to_audio,
    print_exif,
)

__all__ = [
    "audio_to_image",
    "audio_to_images_batch",
    "image_to_audio",
    "main",
    "print_exif",
    "sample_clips",
    "sample_clips_batch",
]
