"""`riffusion unconditional`: clips without text, from audio-diffusion's and own checkpoints."""

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli import options
from riffusion.cli.clip_requests import draw_seed
from riffusion.cli.outputs import (
    check_audio_output,
    check_image_output,
    path_with_seed,
    save_image,
    write_segment,
)
from riffusion.cli.progress import StageBars
from riffusion.errors import InputError
from riffusion.loops.grid import MAX_REPETITIONS

if TYPE_CHECKING:
    import torch

    from riffusion.audio import Audio
    from riffusion.generation.unconditional import UnconditionalClip

logger = logging.getLogger(__name__)


def unconditional(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="Folder or Hugging Face id of an unconditional checkpoint: audio-diffusion's, "
            "such as teticio/audio-diffusion-ddim-256, or one of `riffusion train`.",
            show_default=False,
        ),
    ],
    *,
    output: options.AudioOutput,
    image: options.ImageOutput = None,
    count: Annotated[
        int,
        typer.Option(
            "--count",
            "-n",
            help="Number of clips, with seeds that count up from --seed; `-o a.mp3` then writes "
            "a-<seed>.mp3.",
        ),
    ] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed makes the same clip; default: a random seed, which is printed.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Denoising steps; default: 1000 with ddpm, 50 with ddim.", show_default=False
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="ddpm or ddim; default: the checkpoint's own.", show_default=False),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(
            help="Noise in each step of ddim, from 0 to 1; default: 0.", show_default=False
        ),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Audio file to start from, at least a clip long.", show_default=False
        ),
    ] = None,
    slice_: Annotated[
        int,
        typer.Option("--slice", help="Part of that audio, counted from 0 in lengths of a clip."),
    ] = 0,
    start_step: Annotated[
        int | None,
        typer.Option(
            help="Steps to leave out: the more, the closer the clip stays to --from. Default: "
            "half of them, or 0 with a mask.",
            show_default=False,
        ),
    ] = None,
    mask_start: Annotated[
        float, typer.Option(help="Seconds at the start of --from that stay as they are.")
    ] = 0.0,
    mask_end: Annotated[
        float, typer.Option(help="Seconds at the end of --from that stay as they are.")
    ] = 0.0,
    to: Annotated[
        Path | None,
        typer.Option(
            help="Audio file to go to: makes --count clips on the way from --from to it, both "
            "included, named a-0.mp3, a-1.mp3, ….",
            show_default=False,
        ),
    ] = None,
    encoding: Annotated[
        Path | None,
        typer.Option(
            help="Encoding for a conditional checkpoint: a .npy file of shape (tokens, width), or "
            "(count, tokens, width).",
            show_default=False,
        ),
    ] = None,
    loop: Annotated[
        int,
        typer.Option(help="Repeat each clip this many times, as a loop of its whole beats."),
    ] = 0,
    device: options.Device = None,
) -> None:
    """Make clips without text.

    With --from, clips are variations of that audio, or continue it (--mask-start, --mask-end). With
    --to as well, they lie between two recordings.
    """
    check_audio_output(output)
    if image is not None:
        check_image_output(image)
    if not 0 <= loop <= MAX_REPETITIONS:
        raise InputError(f"{loop} must be from 0 to {MAX_REPETITIONS}", field="loop")
    if to is not None:
        others: dict[str, object] = {"--eta": eta, "--start-step": start_step, "--seed": seed}
        others |= {"--scheduler": scheduler, "--mask-start": mask_start or None}
        others |= {"--mask-end": mask_end or None, "--slice": slice_ or None}
        _check_alone(from_, others)
    from riffusion.generation.unconditional import UnconditionalGenerator
    from riffusion.generation.unconditional_images import grey_difference
    from riffusion.generation.unconditional_request import UnconditionalRequest

    generator = UnconditionalGenerator.open(checkpoint, device)
    clip_s = generator.images.clip_s
    print(f"checkpoint  {checkpoint} on {generator.device}, clips of {clip_s:.2f} s")
    source, target = (None if path is None else _read(path) for path in (from_, to))
    encodings = None if encoding is None else _read_encoding(encoding)
    started = time.perf_counter()
    writer = _ClipWriter(output, image, count, loop)
    with writer.bars:
        if source is not None and target is not None:
            clips = generator.between(
                source, target, count, steps=steps, encodings=encodings, progress=writer.move
            )
        else:
            request = UnconditionalRequest(
                count=count,
                seed=draw_seed() if seed is None else seed,
                steps=steps,
                scheduler=scheduler,
                eta=eta,
                start_step=start_step,
                mask_start_s=mask_start,
                mask_end_s=mask_end,
                slice_index=slice_,
            )
            clips = generator.generate(request, source, encodings, progress=writer.move)
        first, last = writer.write(clips)
    if source is not None and target is not None:
        away = [
            grey_difference(clip.image, generator.image_of(audio))
            for clip, audio in ((first, source), (last, target))
        ]
        print(f"ends        {away[0]:.1f} and {away[1]:.1f} of 255 grey levels from the recordings")
    print(f"made in     {time.perf_counter() - started:.2f} s")


class _ClipWriter:
    """Writes clips as they are made, with a progress bar between them.

    Args:
        output, image: paths of the audio and, if wanted, of the image.
        count: number of clips; more than one have a number in their names.
        loop: how often to repeat a clip's loop; 0 for the clip itself.
    """

    def __init__(self, output: Path, image: Path | None, count: int, loop: int) -> None:
        self.bars = StageBars()
        self._output, self._image = output, image
        self._count, self._loop = count, loop
        self._num_written = 0

    def move(self, done: int, total: int) -> None:
        """Show the progress of all clips."""
        self.bars.move(f"clip {self._num_written + 1} of {self._count}", done, total)

    def write(
        self, clips: "Iterator[UnconditionalClip]"
    ) -> "tuple[UnconditionalClip, UnconditionalClip]":
        """Write the clips; returns the first and the last."""
        first = last = None
        for clip in clips:
            self.bars.close()
            self._write_clip(clip)
            self._num_written += 1
            first, last = first or clip, clip
        assert first is not None and last is not None  # at least one clip is asked for
        return first, last

    def _write_clip(self, clip: "UnconditionalClip") -> None:
        number = self._num_written if clip.seed is None else clip.seed
        if clip.seed is not None:
            print(f"seed        {clip.seed}")
        audio = _looped(clip.audio, self._loop) if self._loop else clip.audio
        path = self._output if self._count == 1 else path_with_seed(self._output, number)
        write_segment(audio, path)
        print(f"Wrote {path} ({audio.duration_s:.2f} seconds)")
        if self._image is not None:
            path = self._image if self._count == 1 else path_with_seed(self._image, number)
            save_image(clip.image, path)
            print(f"Wrote {path} ({clip.image.width}×{clip.image.height} pixels)")


def _looped(clip: "Audio", times: int) -> "Audio":
    """The clip's loop, or the clip itself, with a warning, if it has no beat."""
    from riffusion.editing.clip_looping import loop_it

    try:
        return loop_it(clip, times)
    except InputError as error:
        logger.warning("the clip is written without a loop: %s", error)
        return clip


def _check_alone(from_: Path | None, others: Mapping[str, object]) -> None:
    """Check the options beside --to.

    Args:
        from_: the value of --from.
        others: options that don't go with --to; None where one isn't given.

    Raises:
        InputError: --from is missing, or there is an option that doesn't go with --to.
    """
    if from_ is None:
        raise InputError("needs --from, the audio to go from", field="to")
    if given := [option for option, value in others.items() if value is not None]:
        raise InputError(
            f"does not go with {', '.join(given)}: the clips between two recordings follow from "
            "them alone; leave it out",
            field="to",
        )


def _read(path: Path) -> "Audio":
    from riffusion.audio import audio_from_segment, read_audio

    return audio_from_segment(read_audio(path))


def _read_encoding(path: Path) -> "torch.Tensor":
    """(1 or count, tokens, width) float32 of a .npy file; nothing in it is run.

    Raises:
        InputError: the file isn't an array of numbers with two or three dimensions.
    """
    import numpy as np
    import torch

    from riffusion.io.files import check_readable

    check_readable(path, 2**30, "npy")
    try:
        array = np.load(path, allow_pickle=False)
        encodings = torch.from_numpy(np.asarray(array, np.float32))
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise InputError(
            f"{str(path)!r} is not a .npy file of numbers ({error}); write it with numpy.save",
            field="encoding",
        ) from error
    if encodings.ndim not in (2, 3) or not bool(encodings.isfinite().all()):
        raise InputError(
            f"{str(path)!r} of shape {tuple(encodings.shape)} must be finite numbers of shape "
            "(tokens, width) or (count, tokens, width)",
            field="encoding",
        )
    return encodings if encodings.ndim == 3 else encodings[None]
