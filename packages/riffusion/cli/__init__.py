"""The `riffusion` command.

    app             the commands together, and errors in one line
    generate        text to audio                    interpolate    from one text to another
    spectrograms    audio ⇄ images                 clips          short clips of long audio
    seed_images     loops to start from              serve          the local servers
    predict         a request file to an endpoint    option_names   options in place of fields

Upstream's functions are here under upstream's names, as plain functions with keyword arguments;
they raise the exceptions of `riffusion.errors`, which only `main` turns into exit codes. Importing
this package is quick: torch and its kin are imported by the commands that need them.
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
