"""docs/sounds.md: every sound of the corpus, real and drawn, as a picture and as audio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpora.general_midi.sound import Sound
from corpora.general_midi.sounds import find_sounds
from riffusion.checkpoint.distillation import Distillation
from riffusion.datatypes import PRESETS
from riffusion.generation.generator import Clip
from scripts.media.maker import GUIDANCE, MediaMaker
from scripts.media.real_clips import real_images

PAGE, FOLDER = "docs/sounds.md", "sounds"
"""The page, and the folder of its files beside it."""
MAX_BYTES = 3_000_000
"""Limit of the page and its files together."""
SEED = 1
SIDE, QUALITY = 192, 50
"""Size in pixels and WebP quality of the pictures."""
RATE_HZ, BITRATE_KBPS = 24_000, 40
"""The images end at 10 kHz. At 32 kbit/s, LAME would cut above 8 kHz."""
_HEADINGS = {"instrument": "Instruments", "beat": "Beats", "mixture": "Mixtures"}


@dataclass(frozen=True)
class Column:
    """A column of the page's tables.

    Args:
        name: its part of the names of files.
        title: its title.
        fields: fields of the request that draws its clips; empty for real clips.
    """

    name: str
    title: str
    fields: Mapping[str, Any] = field(default_factory=dict)


REAL = Column("real", "real")


def drawn_columns(distillation: Distillation | None) -> list[Column]:
    """The ways in which a checkpoint can draw the clips.

    Args:
        distillation: what the checkpoint can do; None if it isn't distilled.
    """
    presets = []
    if distillation is None or distillation.guided_sampling:
        presets.append("balanced")
    if distillation is not None:
        presets.append("instant")
    return [
        Column(
            preset,
            f"drawn in {PRESETS[preset]['num_inference_steps']} steps (`{preset}`)",
            {"preset": preset},
        )
        for preset in presets
    ]


def make_sounds_page(
    maker: MediaMaker, labels: list[str] | None = None, soundfont: Path | None = None
) -> None:
    """Write the page and its files; files of an earlier page that it doesn't name are deleted.

    Args:
        maker: draws and writes.
        labels: the sounds of the page; None for all that the corpus has.
        soundfont: what plays the real clips; None for the one that is installed.

    Raises:
        InputError: a sound is unknown, a soundfont is missing, or the checkpoint can't draw.
    """
    sounds = find_sounds(labels)
    columns = [REAL, *drawn_columns(maker.generator.pipeline.distillation)]
    named = set()
    for sound, image in real_images(sounds, soundfont):
        clips = [maker.play(image)]
        clips += [maker.draw(sound.label, SEED, **column.fields) for column in columns[1:]]
        for column, clip in zip(columns, clips, strict=True):
            named |= _write_clip(maker, sound, column, clip)
    maker.write(page_text(sounds, columns).encode(), PAGE)
    for path in (maker.root / PAGE).with_name(FOLDER).iterdir():
        if path.name not in named:
            path.unlink()


def _write_clip(maker: MediaMaker, sound: Sound, column: Column, clip: Clip) -> set[str]:
    """Write a clip's picture and audio. Returns their names."""
    name = _file_name(sound, column)
    path = f"{Path(PAGE).parent}/{FOLDER}/{name}"
    maker.write_picture(clip.image, f"{path}.webp", side=SIDE, quality=QUALITY)
    maker.write_audio(clip.audio, f"{path}.mp3", rate_hz=RATE_HZ, bitrate_kbps=BITRATE_KBPS)
    return {f"{name}.webp", f"{name}.mp3"}


def _file_name(sound: Sound, column: Column) -> str:
    """Name of a clip's files, without extension."""
    return f"{sound.folder}_{column.name}"


def page_text(sounds: Sequence[Sound], columns: Sequence[Column]) -> str:
    """The page as Markdown: an introduction, and a table for each kind of sound.

    Args:
        sounds: a row for each.
        columns: real clips first.
    """
    presets = [column.name for column in columns[1:]]
    first = sounds[0].label
    lines = [
        "# The sounds of the demo checkpoint",
        "",
        "Every sound that the [demo checkpoint](../data/demo-checkpoint/README.md) knows: a real "
        "clip beside what the checkpoint draws, 5.12 s each. Nothing was selected: it is always "
        f"the first held-out clip, and the clip of seed {SEED}.",
        "",
        "## How they were made",
        "- **real**: played by FluidSynth for `riffusion dataset synthesize`, from notes that "
        "training never saw. Its image became audio in the same way as the drawn images did, so "
        "both lost the same.",
        f"- **drawn**: the prompt is the sound's name alone, with guidance {GUIDANCE:g}:",
        "",
        "```",
        *(
            f'riffusion generate "{first}" --seed {SEED} --guidance {GUIDANCE:g} '
            f"--preset {preset} -o {sounds[0].folder}_{preset}.mp3"
            for preset in presets
        ),
        "```",
        "",
        f"The pictures are the images at {SIDE}×{SIDE} pixels: time from left to right, pitch from "
        "0 to 10,000 Hz on the mel scale from bottom to top, and dark is loud. The audio is mono, "
        f"mp3 at {BITRATE_KBPS} kbit/s. `make media` makes everything on this page again.",
        "",
        "## What to look and listen for",
        "The checkpoint makes up its own notes, so compare how it sounds, not what it plays.",
        "",
        "- **Partials.** A note of a violin is a stack of lines at multiples of one pitch, which "
        "move together. Where drawn lines aren't parallel, you hear several instruments, or one "
        "that is out of tune.",
        "- **Onsets.** A drum hit is a sharp vertical line. If it is blurred, it sounds soft.",
        "- **Gaps.** Between notes the image should be white. Grey haze is heard as noise or "
        "reverb.",
        "- **Loops.** The real clips are loops, whose end continues at their beginning. Drawn ones "
        "should be, too.",
    ]
    for kind, heading in _HEADINGS.items():
        rows = [sound for sound in sounds if sound.kind == kind]
        if rows:
            lines += ["", f"## {heading}", *_table(rows, columns)]
    return "\n".join(lines) + "\n"


def _table(sounds: Sequence[Sound], columns: Sequence[Column]) -> list[str]:
    titles = ["sound", *(column.title for column in columns)]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for sound in sounds:
        cells = [sound.label, *(_cell(sound, column) for column in columns)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(sound: Sound, column: Column) -> str:
    """A picture above a link to its audio, which `make docs` replaces by a player."""
    path = f"{FOLDER}/{_file_name(sound, column)}"
    alternative = f"Spectrogram of {sound.label}, {column.title.replace('`', '')}"
    return f"![{alternative}]({path}.webp)<br>[listen]({path}.mp3)"
