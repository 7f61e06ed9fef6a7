"""Makes clips with a loaded checkpoint and prints their progress."""

import time
from typing import TYPE_CHECKING

from riffusion.cli.progress import progress_bar

if TYPE_CHECKING:
    from riffusion.generation.generator import Clip, ResolvedInput
    from riffusion.promises.drawing import PromisedClip, PromisedInput


class ClipMaker:
    """Loads a checkpoint and prints its name and source.

    Args:
        checkpoint: folder, file or hub id; None for the default checkpoint.
        device: None for the fastest device available.

    Attributes:
        generator: makes the clips.

    Raises:
        CheckpointError: the checkpoint is missing, truncated or foreign.
    """

    def __init__(self, checkpoint: str | None, device: str | None) -> None:
        started = time.perf_counter()
        from riffusion.generation.generator import ClipGenerator

        self.generator = ClipGenerator.load(checkpoint, device)
        loaded = self.generator.pipeline.checkpoint
        print(f"checkpoint  {self.generator.checkpoint_description}")
        if loaded is not None:
            print(f"from        {loaded.directory}")
        print(f"loading     {time.perf_counter() - started:.2f} s")

    def make_promised(self, promised: "PromisedInput", label: str) -> "PromisedClip":
        """Make one clip, as `make`; draw it again if it doesn't keep its promise."""
        from riffusion.promises.drawing import Draws

        draws = Draws(promised)
        while True:
            made = draws.add(self.generator, self.make(draws.resolved, label))
            if made is not None:
                return made
            print(f"again       with seed {draws.resolved.inputs.start.seed}: not as promised")

    def make(self, resolved: "ResolvedInput", label: str) -> "Clip":
        """Make one clip, and print the time of each stage.

        Args:
            resolved: the request with its media.
            label: label of the progress bar.

        Raises:
            InputError: the request turns out to be invalid while the model works on it.
        """
        started = time.perf_counter()
        steps = 0
        with progress_bar(label) as move:

            def on_progress(done: int, total: int) -> None:
                nonlocal steps
                steps = done
                move(done, total)

            clip = self.generator.generate(resolved, on_progress=on_progress)
        for stage, seconds in clip.timings_s.items():
            note = f"  ({steps} steps)" if stage == "diffusion" else ""
            print(f"{stage:<11} {seconds:.2f} s{note}")
        total_s = time.perf_counter() - started
        clip_s = clip.audio.duration_s
        print(f"clip        {clip_s:.2f} s in {total_s:.2f} s: {clip_s / total_s:.2f}× real time")
        return clip
