"""Pictures of docs/editing.md: a recording before and after each command.

The recording is one of our own loops, played three times. The commands are the real ones, with the
checkpoint that `make media` is given.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from riffusion import cli
from riffusion.audio import Recording, resample, segment_from_waveform, write_audio
from riffusion.cli.clip_maker import keep_loaded
from riffusion.errors import RiffusionError
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.oscillators import SAMPLE_RATE
from riffusion.loops.rendering import find_arrangement, render_loop
from riffusion.spectrogram.params import SpectrogramParams
from scripts.media.maker import MediaMaker, webp

FOLDER = "docs/images/editing"
STYLE, TEMPO_BPM, KEY, BEATS, TIMES = "motorway", 120, "A minor", 8, 3
"""The recording: 12 s."""
_SIZE_INCHES, _DPI = (9.0, 1.5), 100
_POWER = 0.25
"""Amplitude to grey level, as in spectrogram images."""


@dataclass(frozen=True)
class Edit:
    """One command and its picture.

    Args:
        arguments: of the command, without the output and the recording, which follows its name.
        output: name of its output; a folder if it has no extension.
        region_s: the section to mark in what it writes, in seconds.
        draws: whether the command draws with a checkpoint.
    """

    arguments: tuple[str, ...]
    output: str = "after.wav"
    region_s: tuple[float, float] | None = None
    draws: bool = True

    def shown(self) -> str:
        """The command as docs/editing.md shows it."""
        command, *rest = self.arguments
        words = [f'"{word}"' if " " in word else word for word in rest]
        return " ".join(["riffusion", command, "song.wav", *words, "-o", self.output])


EDITS = {
    "repaint": Edit(("repaint", "church bells", "--from", "5", "--to", "9"), region_s=(5, 9)),
    "repaint_band": Edit(
        ("repaint", "flute", "--from", "4", "--to", "10", "--low-hz", "600", "--high-hz", "4000"),
        region_s=(4, 10),
    ),
    "restyle": Edit(("restyle", "acoustic guitar")),
    "extend": Edit(("extend", "jazz trio", "--after", "6"), region_s=(12, 18)),
    "loop": Edit(("loop", "--beats", "8"), draws=False),
    "retime": Edit(("retime", "--tempo", "90", "--semitones", "5"), draws=False),
    "stems": Edit(("stems",), output="stems", draws=False),
    "remix": Edit(("remix", "--mute", "drums", "--gain", "bass=+6dB"), draws=False),
}


def make_editing_pictures(
    maker: MediaMaker, checkpoint: str | None, names: Sequence[str] = tuple(EDITS)
) -> None:
    """Run the commands, and write a picture for each.

    Args:
        maker: writes the pictures; its number of steps holds for the commands, too.
        checkpoint: as of the commands' option.
        names: of the edits.

    Raises:
        RiffusionError: a command fails.
    """
    params = maker.generator.converter.p
    with TemporaryDirectory() as name, keep_loaded():
        folder = Path(name)
        song = folder / "song.wav"
        write_audio(segment_from_waveform(recording(), SAMPLE_RATE), song)
        for edit_name in names:
            edit = EDITS[edit_name]
            output = folder / edit_name / edit.output
            command, *rest = edit.arguments
            options = ["--seed", "1"] if edit.draws else []
            if edit.draws and checkpoint is not None:
                options += ["--checkpoint", checkpoint]
            if edit.draws and maker.steps is not None:
                options += ["--steps", str(maker.steps)]
            words = [command, str(song), *rest, "-o", str(output), *options]
            if cli.main(words) != 0:
                raise RiffusionError(f"`riffusion {' '.join(words)}` failed")
            rows = {"before": song}
            if output.is_dir():
                rows |= {path.stem: path for path in sorted(output.iterdir())}
            else:
                rows["after"] = output
            picture = drawn(maker, rows, edit.region_s, params)
            maker.write(webp(picture, quality=70), f"{FOLDER}/{edit_name}.webp")


def recording() -> np.ndarray:
    """The recording that all commands are shown with: (1, samples)."""
    grid = LoopGrid.fit(BEATS, TEMPO_BPM, SpectrogramParams())
    loop = render_loop(find_arrangement(STYLE), grid, Key.parse(KEY))
    return np.tile(loop, (1, TIMES))


def drawn(
    maker: MediaMaker,
    rows: dict[str, Path],
    region_s: tuple[float, float] | None,
    params: SpectrogramParams,
) -> Image.Image:
    """Spectrograms of recordings, one below the other, on one time axis.

    Args:
        maker: its checkpoint's parameters are used.
        rows: recordings by what is written beside them.
        region_s: marked in all but the first.
        params: the checkpoint's spectrogram parameters.
    """
    from matplotlib.figure import Figure

    width, height = _SIZE_INCHES
    figure = Figure(figsize=(width, height * len(rows)), dpi=_DPI, layout="constrained")
    all_axes = figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0]
    longest_s = 0.0
    for axes, (label, path) in zip(all_axes, rows.items(), strict=True):
        with Recording.open(path) as opened:
            waveform = opened.waveform(0, opened.num_samples)
            duration_s, rate = opened.duration_s, opened.sample_rate
        mono = resample(waveform.mean(axis=0, keepdims=True), rate, params.sample_rate)
        amplitudes = maker.generator.converter.spectrogram_from_waveform(mono)[0]
        levels = (amplitudes / max(float(amplitudes.max()), 1e-9)) ** _POWER
        extent = (0.0, duration_s, 0.0, float(len(levels)))
        axes.imshow(levels, cmap="gray_r", origin="lower", aspect="auto", extent=extent, vmin=0)
        longest_s = max(longest_s, duration_s)
        axes.set_ylabel(label)
        axes.set_yticks([])
        if region_s is not None and label != "before":
            axes.axvspan(*region_s, color="tab:orange", alpha=0.2)
    all_axes[-1].set(xlabel="seconds", xlim=(0, longest_s))
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return Image.open(stream).convert("RGB")
