"""`riffusion jam`: the endless music of the web app, written to a file."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.clip_requests import (
    InitOptions,
    build_request,
    check_ids,
    draw_seed,
)
from riffusion.cli.option_groups import (
    AdapterOptions,
    CheckpointOptions,
    PresetDiffusionOptions,
    expand_option_groups,
    preset_fields,
    with_default_loop,
)
from riffusion.cli.outputs import check_audio_output, check_output_dir, save_image
from riffusion.cli.progress import is_bar_shown, progress_bar
from riffusion.cli.promises import PromisedPiece, PromiseOptions
from riffusion.errors import GenerationCancelled

if TYPE_CHECKING:
    from riffusion.checkpoint.distillation import Distillation
    from riffusion.datatypes import InferenceInput
    from riffusion.generation.generator import Clip, ClipGenerator, ResolvedInput
    from riffusion.generation.jam import Jam, JamPart
    from riffusion.generation.walk import Stop
    from riffusion.promises.drawing import PromisedInput

_USUAL_PRESET = "balanced"


@expand_option_groups
def jam(
    prompt: Annotated[
        list[str],
        typer.Argument(
            help="What the music sounds like. Several prompts are spaced evenly over the length: "
            "four in eight minutes are reached after 0, 2, 4 and 6 minutes.",
            show_default=False,
        ),
    ],
    *,
    output: options.AudioOutput,
    minutes: Annotated[
        float, typer.Option(help="Length in minutes, rounded up to whole clips.")
    ] = 3.0,
    alpha_step: Annotated[
        float,
        typer.Option(
            help="How far each clip moves towards the next seed, over 0 and up to 1; 1 changes "
            "the seed with every clip."
        ),
    ] = 0.25,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the first clip; default: a random seed, which is printed. The same seed "
            "makes the same jam.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Also write the images to this folder.", show_default=False)
    ] = None,
    preset: options.JamPreset = None,
    promises: PromiseOptions,
    diffusion: PresetDiffusionOptions,
    init: InitOptions,
    adapters: AdapterOptions,
    model: CheckpointOptions,
) -> None:
    """Make a long piece of changing music.

    As in the web app, each clip starts from the same loop (default: og_beat) and moves a little
    towards the next seed and the next prompt; clips follow each other without a gap. The file is
    written as clips are made, so Ctrl-C keeps everything so far.

    With --tempo, --key or --beats the loop is made for them, and each clip is put right, so that
    all are on one grid of beats.
    """
    shared = diffusion.prompt_fields()
    init = with_default_loop(init)
    media = init.media()
    first_seed = draw_seed() if seed is None else seed
    added = adapters.request_fields(model)

    def request_for(text: str, preset: str) -> "InferenceInput":
        start = {"prompt": text, "seed": first_seed, **shared}
        fields = preset_fields(preset, diffusion.request_fields())
        return build_request(
            {"start": start, **init.fields(), **added, **fields, **promises.fields()}
        )

    first_preset = _USUAL_PRESET if preset is None else preset
    requests = [request_for(text, first_preset) for text in prompt]
    from riffusion.generation.generator import check_prompts
    from riffusion.generation.jam import Jam
    from riffusion.promises.drawing import resolve
    from riffusion.promises.promise import check_promise

    piece = Jam(tuple(prompt), first_seed, alpha_step, minutes)
    check_audio_output(output)
    if images is not None:
        check_output_dir(images)
    check_ids(requests[0], model.checkpoint, media)
    for request in requests:
        check_prompts(request)
    check_promise(requests[0])
    generator = ClipMaker(model, adapters).generator
    if preset is None and suits_instant(diffusion, generator.pipeline.distillation):
        print("preset      instant")
        requests[0] = request_for(prompt[0], "instant")
    _Session(piece, generator, resolve(generator, requests[0], media), output, images).run()


def suits_instant(diffusion: PresetDiffusionOptions, distillation: "Distillation | None") -> bool:
    """Whether the checkpoint can do what the options ask for with the preset `instant`."""
    if distillation is None or diffusion.negative_prompt:
        return False
    if diffusion.scheduler not in (None, "lcm"):
        return False
    low, high = distillation.guidance
    return (diffusion.steps or 1) <= distillation.max_steps and low <= diffusion.guidance <= high


class _Session:
    """Writes a jam to a file and prints its progress."""

    def __init__(
        self,
        jam: "Jam",
        generator: "ClipGenerator",
        promised: "PromisedInput",
        output: Path,
        images: Path | None,
    ) -> None:
        self._generator = generator
        self._promised = promised
        self._output = output
        self._images = images
        self._heard = PromisedPiece()
        self._clip_s = promised.duration_s or 0.0
        self._num_clips = jam.num_clips(self._clip_s)
        self._stops = jam.stops(self._num_clips)
        self._num_made = 0
        print(f"seed        {jam.seed}")
        print(f"jam         {self._num_clips} clips of {self._clip_s:g} s")

    def run(self) -> None:
        """Write the whole jam, or the part until a signal stops it.

        Raises:
            KeyboardInterrupt: a signal stopped it; the file ends with a whole clip.
            InputError: the file can't be written; the part in it can be played.
        """
        started = time.perf_counter()
        with _stopped_by_signals() as is_stopped:
            try:
                with progress_bar("jam") as move:
                    self._play(move, is_stopped)
            except GenerationCancelled:
                raise KeyboardInterrupt from None
            finally:
                if self._num_made:
                    written_s = self._num_made * self._clip_s
                    seconds = time.perf_counter() - started
                    print(
                        f"jam         {written_s:.2f} s in {seconds:.2f} s: "
                        f"{written_s / seconds:.2f}× real time"
                    )
                    self._heard.print()
                    print(f"Wrote {self._output} ({written_s:.2f} seconds)")

    def _play(self, move: Callable[[int, int], None], is_stopped: Callable[[], bool]) -> None:
        from riffusion.audio import AudioWriter
        from riffusion.generation.jam import play
        from riffusion.promises.drawing import fitted_once

        def on_progress(done: int, total: int) -> None:
            move(self._num_made * total + done, self._num_clips * total)

        def make(resolved: "ResolvedInput") -> "Clip":
            if is_stopped():
                raise GenerationCancelled("stopped between two clips")
            drawn = self._generator.generate(resolved, on_progress, is_stopped)
            made = fitted_once(self._generator, self._promised, drawn)
            self._heard.add(made)
            return made.clip

        writer: AudioWriter | None = None
        with ExitStack() as files:
            started = time.perf_counter()
            for part in play(self._stops, self._promised.resolved, make):
                if writer is None:  # an older file is kept until the first clip is made
                    writer = files.enter_context(AudioWriter(self._output, part.audio))
                writer.write(part.audio)
                if self._images is not None:
                    save_image(part.clip.image, self._images / self._image_name(part.stop))
                self._num_made += 1
                if not is_bar_shown():
                    self._print_line(part, time.perf_counter() - started)

    def _image_name(self, stop: "Stop") -> str:
        return f"clip_{self._num_made:05}_seed_{stop.start.seed}_alpha_{stop.alpha:.3f}.png"

    def _print_line(self, part: "JamPart", seconds: float) -> None:
        start, end = part.stop.start, part.stop.end
        remaining_s = seconds / self._num_made * (self._num_clips - self._num_made)
        print(
            f"clip        {self._num_made} of {self._num_clips}: {start.prompt} {start.seed} → "
            f"{end.prompt} {end.seed}, {part.stop.alpha:.3g}; {_clock(remaining_s)} to go"
        )


@contextmanager
def _stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGINT or SIGTERM has arrived.

    The first signal only sets that flag, so no write is interrupted; the next one raises
    `KeyboardInterrupt`. Outside the main thread, signals are not handled.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped.is_set
        return
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _: object) -> None:
        stopped.set()
        signal.signal(number, signal.default_int_handler)

    for kind in before:
        signal.signal(kind, stop)
    try:
        yield stopped.is_set
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _clock(seconds: float) -> str:
    """A duration as `1:05:09`, or as `5:09` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
