"""A loaded checkpoint that makes clips and tells about it."""

import time
from typing import TYPE_CHECKING

from riffusion.cli.progress import progress_bar

if TYPE_CHECKING:
    from riffusion.datatypes import InferenceInput
    from riffusion.generation.generator import Clip


class ClipMaker:
    """Loads a checkpoint, and prints what was loaded and from where.

    Args:
        checkpoint: folder, file or hub id; None for the default one.
        device: None for the best there is.

    Attributes:
        generator: what makes the clips.

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

    def init_duration_s(self, inputs: "InferenceInput") -> float | None:
        """How long a clip will be, in seconds, if something is painted over.

        Raises:
            InputError: as `make`.
        """
        resolved = self.generator.resolve(inputs)
        if resolved.init_image is None:
            return None
        return resolved.params.num_samples(resolved.init_image.width) / resolved.params.sample_rate

    def make(self, inputs: "InferenceInput", label: str) -> "Clip":
        """Make one clip, and print what it took.

        Args:
            inputs: the request.
            label: of the progress bar.

        Raises:
            InputError: an unknown id, or what is painted over can't be used.
        """
        started = time.perf_counter()
        steps = 0
        with progress_bar(label) as move:

            def on_progress(done: int, total: int) -> None:
                nonlocal steps
                steps = done
                move(done, total)

            clip = self.generator.generate(self.generator.resolve(inputs), on_progress=on_progress)
        for stage, seconds in clip.timings_s.items():
            note = f"  ({steps} steps)" if stage == "diffusion" else ""
            print(f"{stage:<11} {seconds:.2f} s{note}")
        total_s = time.perf_counter() - started
        clip_s = clip.segment.frame_count() / clip.segment.frame_rate
        print(f"clip        {clip_s:.2f} s in {total_s:.2f} s: {clip_s / total_s:.2f}× real time")
        return clip
