"""`riffusion follow`: a melody, from MIDI or from a sung or played line, with another sound."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.edits import EditSeed, edit_request, print_seed
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

logger = logging.getLogger(__name__)

MIDI_EXTENSIONS = (".mid", ".midi", ".smf")


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
    from riffusion.editing.following import DENOISINGS

    check_audio_output(output)
    started = time.perf_counter()
    given = diffusion.denoising
    inputs = edit_request(
        prompt,
        seed,
        diffusion.edit_fields(DENOISINGS[0]),
        diffusion.request_fields() | adapters.request_fields(model),
    )
    found = _melody(melody)
    print(f"melody      {len(found.voices)} notes or lines, {found.duration_s:.2f} s")
    print_seed(inputs)
    maker = ClipMaker(model, adapters)
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
    from riffusion.editing.pitch_tracking import check_tracking, melody_from_sound

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
    from riffusion.audio import Audio
    from riffusion.editing.clipping import Clipping, remark_on_new_sound
    from riffusion.editing.following import Followed, follow_closely

    def report(draw: Followed) -> None:
        found = draw.agreement
        if found is None:
            print(
                "note        the pitches aren't compared, as librosa isn't installed "
                "(pip install 'riffusion-truss[listening]')"
            )
            return
        print(
            f"pitch       {found.share:.0%} of {found.num_voiced} frames with a pitch are within "
            f"a quarter tone, at denoising {draw.denoising:g}"
        )

    with progress_bar("diffusion") as move:
        best = follow_closely(melody, maker.generator, inputs, denoisings, move, report)
    clipping = Clipping()
    clipping.add(best.waveform)
    if remark := remark_on_new_sound(clipping):
        logger.warning(remark)
    write_segment(Audio(best.waveform, maker.generator.converter.p.sample_rate), output)
