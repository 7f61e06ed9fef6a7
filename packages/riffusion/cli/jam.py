"""`riffusion jam`: the web app's endless music, into a file."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.clip_requests import (
    InitOptions,
    build_request,
    check_ids,
    draw_seed,
    scheduler_field,
    strength_field,
)
from riffusion.cli.outputs import check_audio_output, check_output_dir, save_image
from riffusion.cli.progress import is_bar_shown, progress_bar
from riffusion.errors import GenerationCancelled

if TYPE_CHECKING:
    from riffusion.generation.generator import Clip, ClipGenerator, ResolvedInput
    from riffusion.generation.jam import Jam, JamPart
    from riffusion.generation.walk import Stop


def jam(
    prompt: Annotated[
        list[str],
        typer.Argument(
            help="What to draw. Several are reached evenly over the minutes: of four in eight "
            "minutes, the second after two, the third after four.",
            show_default=False,
        ),
    ],
    *,
    output: options.AudioOutput,
    minutes: Annotated[float, typer.Option(help="Length, rounded up to whole clips.")] = 3.0,
    alpha_step: Annotated[
        float, typer.Option(help="Way from clip to clip: 1 is a new seed each time.")
    ] = 0.25,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of the first clip; drawn and printed by default. Same seed, same bytes.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Keep the images in this folder.", show_default=False)
    ] = None,
    preset: options.Preset = "balanced",
    steps: options.StepsOrNone = None,
    scheduler: options.SchedulerOrNone = None,
    guidance: options.Guidance = 5.0,
    negative_prompt: options.NegativePrompt = None,
    denoising: options.Denoising = None,
    seed_image: options.SeedImage = None,
    init_image: options.InitImage = None,
    init_audio: options.InitAudio = None,
    mask_image: options.MaskImage = None,
    checkpoint: options.Checkpoint = None,
    device: options.Device = None,
) -> None:
    """Make music that goes on and on, as the web app does.

    Clip after clip moves from seed to seed and from prompt to prompt, over one loop (default
    og_beat), and each takes over from the one before without a gap. The file grows as clips are
    made: Ctrl-C ends it with the clips so far.
    """
    if seed_image is None and init_image is None and init_audio is None:
        seed_image = "og_beat"
    init = InitOptions(seed_image, init_image, init_audio, mask_image)
    shared = {"negative_prompt": negative_prompt, "guidance": guidance, **strength_field(denoising)}
    fields: dict[str, Any] = {"preset": preset, **init.fields()}
    media = init.media()
    if steps is not None:
        fields["num_inference_steps"] = steps
    if scheduler is not None:
        fields["scheduler"] = scheduler_field(scheduler)
    first_seed = draw_seed() if seed is None else seed
    requests = [
        build_request({"start": {"prompt": text, "seed": first_seed, **shared}, **fields})
        for text in prompt
    ]
    from riffusion.generation.generator import check_prompts
    from riffusion.generation.jam import Jam

    piece = Jam(tuple(prompt), first_seed, alpha_step, minutes)
    check_audio_output(output)
    if images is not None:
        check_output_dir(images)
    check_ids(requests[0], checkpoint, media)
    for request in requests:
        check_prompts(request)
    generator = ClipMaker(checkpoint, device).generator
    _Session(piece, generator, generator.resolve(requests[0], media), output, images).run()


class _Session:
    """Plays a jam into a file, and tells how far it is."""

    def __init__(
        self,
        jam: "Jam",
        generator: "ClipGenerator",
        resolved: "ResolvedInput",
        output: Path,
        images: Path | None,
    ) -> None:
        self._generator = generator
        self._resolved = resolved
        self._output = output
        self._images = images
        self._clip_s = resolved.init_duration_s or 0.0
        self._num_clips = jam.num_clips(self._clip_s)
        self._stops = jam.stops(self._num_clips)
        self._num_made = 0
        print(f"seed        {jam.seed}")
        print(f"jam         {self._num_clips} clips of {self._clip_s:g} s")

    def run(self) -> None:
        """Play all of it, or until somebody stops it.

        Raises:
            KeyboardInterrupt: somebody did; the file is complete.
            InputError: the file can't be written; what is in it can be played.
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
                    heard_s = self._num_made * self._clip_s
                    seconds = time.perf_counter() - started
                    print(
                        f"jam         {heard_s:.2f} s in {seconds:.2f} s: "
                        f"{heard_s / seconds:.2f}× real time"
                    )
                    print(f"Wrote {self._output} ({heard_s:.2f} seconds)")

    def _play(self, move: Callable[[int, int], None], is_stopped: Callable[[], bool]) -> None:
        from riffusion.audio import AudioWriter
        from riffusion.generation.jam import play

        def on_progress(done: int, total: int) -> None:
            move(self._num_made * total + done, self._num_clips * total)

        def make(resolved: "ResolvedInput") -> "Clip":
            if is_stopped():
                raise GenerationCancelled("stopped between two clips")
            return self._generator.generate(resolved, on_progress, is_stopped)

        writer: AudioWriter | None = None
        with ExitStack() as files:
            started = time.perf_counter()
            for part in play(self._stops, self._resolved, make):
                if writer is None:  # what was there before stays until there is something new
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
        to_go_s = seconds / self._num_made * (self._num_clips - self._num_made)
        print(
            f"clip        {self._num_made} of {self._num_clips}: {start.prompt} {start.seed} → "
            f"{end.prompt} {end.seed}, {part.stop.alpha:.3g}; {_clock(to_go_s)} to go"
        )


@contextmanager
def _stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """Inside, the first SIGINT or SIGTERM only makes what this yields say so; the next one kills.

    Nothing is interrupted in the middle of a write. On the main thread only.
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
    """`1:05:09`, or `5:09`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
