"""`riffusion follow`: a melody, from MIDI or from a sung or played line, with another sound."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.edits import EditSeed, edit_request
from riffusion.cli.option_groups import (
    AdapterOptions,
    CheckpointOptions,
    EditOptions,
    expand_option_groups,
)
from riffusion.cli.outputs import check_audio_output, write_segment
from riffusion.cli.progress import progress_bar

if TYPE_CHECKING:
    from riffusion.datatypes import InferenceInput
    from riffusion.editing.melody import Melody

MIDI_EXTENSIONS = (".mid", ".midi", ".smf")
DENOISINGS = (0.5, 0.45, 0.4)
"""Tried one after the other, if --denoising isn't given, until the pitches agree."""
LEAST_AGREEMENT = 0.8


@expand_option_groups
def follow(
    melody: Annotated[
        Path,
        typer.Argument(
            help="MIDI file (.mid), or audio of one sung or played line.", show_default=False
        ),
    ],
    prompt: Annotated[
        str, typer.Argument(help="What plays the melody, such as 'trumpet'.", show_default=False)
    ],
    *,
    output: options.AudioOutput,
    seed: EditSeed = None,
    diffusion: EditOptions,
    adapters: AdapterOptions,
    model: CheckpointOptions,
) -> None:
    """Play a melody with the sound that a text asks for.

    All notes of a MIDI file are played, but those of the drum channel. How well the pitches agree
    is measured (with librosa) and printed. Without --denoising, the melody is drawn with 0.5, and
    again with 0.45 and 0.4 until 80 % of the pitches agree.
    """
    check_audio_output(output)
    started = time.perf_counter()
    given = diffusion.denoising
    inputs = edit_request(
        prompt,
        seed,
        diffusion.edit_fields(DENOISINGS[0]),
        diffusion.request_fields() | adapters.request_fields(),
    )
    found = _melody(melody)
    print(f"melody      {len(found.voices)} notes or lines, {found.duration_s:.2f} s")
    maker = ClipMaker(model.checkpoint, model.device, adapters)
    _draw(maker, found, inputs, DENOISINGS if given is None else (given,), output)
    print(f"made in     {time.perf_counter() - started:.2f} s")
    print(f"Wrote {output} ({found.duration_s:.2f} seconds)")


def _melody(path: Path) -> "Melody":
    """The melody in a file.

    Raises:
        InputError: there is none in it; `field` is `melody`.
    """
    if path.suffix.lower() in MIDI_EXTENSIONS:
        from riffusion.editing.midi import melody_from_midi

        return melody_from_midi(path)
    from riffusion.audio import Recording
    from riffusion.editing.melody import MAX_MELODY_S
    from riffusion.evaluation.pitch_tracking import check_tracking, melody_from_sound

    check_tracking()
    with Recording.open(path, max_duration_s=MAX_MELODY_S) as recording:
        return melody_from_sound(
            recording.waveform(0, recording.num_samples), recording.sample_rate
        )


def _draw(
    maker: ClipMaker,
    melody: "Melody",
    inputs: "InferenceInput",
    denoisings: tuple[float, ...],
    output: Path,
) -> None:
    """Draw until the pitches agree, and write the draw whose pitches agree best."""
    import numpy as np

    from riffusion.audio import Audio
    from riffusion.editing.following import follow
    from riffusion.errors import InputError
    from riffusion.evaluation.pitch_tracking import check_tracking, pitch_agreement

    rate = maker.generator.converter.p.sample_rate
    best: tuple[float, Any] = (-1.0, None)
    for denoising in denoisings:
        start = inputs.start.model_copy(update={"denoising": denoising})
        drawn = inputs.model_copy(update={"start": start, "end": start})
        with progress_bar("diffusion") as move:
            waveform = np.zeros((1, round(melody.duration_s * rate)), np.float32)
            at = 0
            for made in follow(melody, maker.generator, drawn, move):
                part = waveform[:, at : at + made.shape[1]]  # shorter at the end
                part[:] = made[:, : part.shape[1]]
                at += made.shape[1]
        try:
            check_tracking()
        except InputError as error:
            print(f"note        {error}")
            best = (0.0, waveform)
            break
        agreement = pitch_agreement(melody, waveform, rate)
        print(
            f"pitch       {agreement.share:.0%} of {agreement.num_voiced} frames with a pitch are "
            f"within a quarter tone, at denoising {denoising:g}"
        )
        if agreement.share > best[0]:
            best = (agreement.share, waveform)
        if agreement.share >= LEAST_AGREEMENT:
            break
    write_segment(Audio(best[1], rate), output)
