"""Edits of recordings, compared with the published playground's way and with one clip.

The playground restyles a recording in clips of 5 s, one by one with 50 steps each, overlapping by
0.2 s. Here its clips are drawn and inverted by this package, so that the rest is alike.

python -m benchmarks.editing
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from riffusion.audio import Recording, segment_from_waveform, write_audio
from riffusion.datatypes import InferenceInput
from riffusion.editing.looping import cut_out_loop
from riffusion.editing.regions import Region
from riffusion.editing.repainting import repaint
from riffusion.editing.restyling import restyle
from riffusion.editing.retiming import plan_retiming, retimed
from riffusion.editing.splicing import write_spliced
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.media import Media
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.oscillators import SAMPLE_RATE
from riffusion.loops.rendering import find_arrangement, render_loop
from riffusion.spectrogram.params import SpectrogramParams

REPEATS = 3
PRESET = "fast"
NUM_LOOPS = 6
"""Loops of 4 s in the recording."""
_CLIP_S, _OVERLAP_S = 5.0, 0.2
"""The playground's clips."""


@dataclasses.dataclass(frozen=True)
class EditRow:
    """Medians of alternating runs.

    Args:
        edit: what is done.
        audio_s: seconds of audio that it edits.
        seconds: time that it takes.
        other: what it is compared with; empty if there is nothing.
        other_seconds: time that that takes.
    """

    edit: str
    audio_s: float
    seconds: float
    other: str = ""
    other_seconds: float | None = None


def measure(repeats: int = REPEATS) -> list[EditRow]:
    """Run all edits, in turn with what they are compared with."""
    generator = ClipGenerator.load()
    grid = LoopGrid.fit(8, 120, SpectrogramParams())
    loop = render_loop(find_arrangement("motorway"), grid, Key.parse("A minor"))
    waveform = np.tile(loop, (1, NUM_LOOPS))
    with tempfile.TemporaryDirectory() as name:
        path, output = Path(name) / "song.wav", Path(name) / "out.wav"
        write_audio(segment_from_waveform(waveform, SAMPLE_RATE), path)
        with Recording.open(path) as recording:

            def whole() -> None:
                parts = restyle(recording, generator, _request("piano", 0.5, PRESET))
                write_spliced(recording, parts, output)

            def section() -> None:
                region = Region(8.0, 13.0)
                parts = repaint(recording, generator, _request("piano", 1.0, PRESET), region)
                write_spliced(recording, parts, output)

            def clip() -> None:
                _draw(generator, {**_fields("piano", 1.0, PRESET), "mode": "txt2img"}, Media())

            def retime() -> None:
                plan = plan_retiming(recording, tempo_bpm=100)
                for _ in retimed(recording, plan):
                    pass

            times = _alternating(
                {
                    "whole": whole,
                    "windows": lambda: _one_by_one(generator, waveform),
                    "section": section,
                    "clip": clip,
                    "retime": retime,
                    "loop": lambda: cut_out_loop(recording),
                },
                repeats,
            )
            song_s = recording.duration_s
    generator.close()
    published = "clips of 5 s one by one, 50 steps"
    return [
        EditRow(f"restyle, preset {PRESET}", song_s, times["whole"], published, times["windows"]),
        EditRow(f"repaint 5 s, preset {PRESET}", 5.0, times["section"], "a clip", times["clip"]),
        EditRow("retime to another tempo", song_s, times["retime"]),
        EditRow("cut out a loop of 8 beats", song_s, times["loop"]),
    ]


def _alternating(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds by name; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if repeat > 0:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def _one_by_one(generator: ClipGenerator, waveform: np.ndarray) -> None:
    """The playground's way through a recording; its last, shorter clip is drawn, too."""
    step = round((_CLIP_S - _OVERLAP_S) * SAMPLE_RATE)
    for start in range(0, waveform.shape[1], step):
        part = waveform[:, start : start + round(_CLIP_S * SAMPLE_RATE)]
        media = Media(init_audio=segment_from_waveform(part, SAMPLE_RATE))
        _draw(generator, _fields("piano", 0.5, "reference"), media)


def _draw(generator: ClipGenerator, fields: dict[str, Any], media: Media) -> None:
    generator.generate(generator.resolve(InferenceInput.parse(fields), media))


def _fields(prompt: str, denoising: float, preset: str) -> dict[str, Any]:
    return {"start": {"prompt": prompt, "seed": 1, "denoising": denoising}, "preset": preset}


def _request(prompt: str, denoising: float, preset: str) -> InferenceInput:
    return InferenceInput.parse(_fields(prompt, denoising, preset))


def markdown(rows: list[EditRow]) -> str:
    """The rows as a table."""
    lines = [
        "| edit | seconds | × real time | compared with | seconds | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        speed = f"{row.audio_s / row.seconds:.1f}"
        other = f"{row.other_seconds:.2f}" if row.other_seconds is not None else ""
        ratio = "" if row.other_seconds is None else f"{row.other_seconds / row.seconds:.2f}"
        lines.append(
            f"| {row.edit} | {row.seconds:.2f} | {speed} | {row.other} | {other} | {ratio} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, save and print."""
    rows = measure()
    results.save("editing", rows, markdown(rows))


if __name__ == "__main__":
    main()
