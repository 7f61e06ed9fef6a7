"""Makes clips with a loaded checkpoint and prints their progress."""

import time
from typing import TYPE_CHECKING

from riffusion.cli.progress import progress_bar

if TYPE_CHECKING:
    from riffusion.cli.option_groups import AdapterOptions
    from riffusion.generation.generator import Clip, ResolvedInput


class ClipMaker:
    """Loads a checkpoint and prints its name and source.

    Args:
        checkpoint: folder, file or hub id; None for the default checkpoint.
        device: None for the fastest device available.
        adapters: what is added to the checkpoint.

    Attributes:
        generator: makes the clips.

    Raises:
        CheckpointError: the checkpoint is missing, truncated or foreign.
        InputError: a LoRA or an embedding doesn't fit it.
    """

    def __init__(
        self, checkpoint: str | None, device: str | None, adapters: "AdapterOptions | None" = None
    ) -> None:
        started = time.perf_counter()
        from riffusion.generation.generator import ClipGenerator

        self.generator = ClipGenerator.load(checkpoint, device)
        loaded = self.generator.pipeline.checkpoint
        print(f"checkpoint  {self.generator.checkpoint_description}")
        if loaded is not None:
            print(f"from        {loaded.directory}")
        if adapters is not None:
            adapters.add_to(self.generator)
        print(f"loading     {time.perf_counter() - started:.2f} s")

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
