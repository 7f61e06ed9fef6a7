"""Makes clips with a loaded checkpoint and prints their progress."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from riffusion.cli.progress import progress_bar

if TYPE_CHECKING:
    from riffusion.cli.option_groups import AdapterOptions, CheckpointOptions
    from riffusion.diffusion.magic_mix import MagicMix
    from riffusion.generation.generator import Clip, ClipGenerator, ResolvedInput
    from riffusion.promises.drawing import PromisedClip, PromisedInput

_kept: ContextVar["dict[str, ClipGenerator] | None"] = ContextVar("_kept", default=None)
"""The generator that commands share inside `keep_loaded`, by what it was loaded with."""


@contextmanager
def keep_loaded() -> Iterator[None]:
    """Commands that run inside use one loaded checkpoint, until another one is asked for."""
    kept: dict[str, ClipGenerator] = {}
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        for generator in kept.values():
            generator.close()


class ClipMaker:
    """Loads a checkpoint and prints its name and source.

    Args:
        model: checkpoint, device and engine.
        adapters: what is added to the checkpoint.

    Attributes:
        generator: makes the clips.

    Raises:
        CheckpointError: the checkpoint is missing, truncated or foreign.
        InputError: a LoRA or an embedding doesn't fit it.
    """

    def __init__(
        self, model: "CheckpointOptions", adapters: "AdapterOptions | None" = None
    ) -> None:
        started = time.perf_counter()
        self.generator = _load(model, adapters)
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

    def with_layout(
        self, resolved: "ResolvedInput", layout: str, mix: "MagicMix"
    ) -> "ResolvedInput":
        """Draw the image that a clip has its layout from; see `mixing.with_layout`."""
        from riffusion.generation.mixing import with_layout

        with progress_bar("layout") as move:
            return with_layout(self.generator, resolved, layout, mix, move)

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


def _load(model: "CheckpointOptions", adapters: "AdapterOptions | None") -> "ClipGenerator":
    """A generator with its LoRAs and new words.

    It is the one that is kept, if it has the same checkpoint and words; LoRAs can be exchanged.
    """
    kept = _kept.get()
    words = [] if adapters is None else [str(path) for path in adapters.embedding or ()]
    key = repr((model, words))
    generator = None if kept is None else kept.get(key)
    if generator is None:
        generator = _newly_loaded(model, adapters)
        if kept is not None:
            kept[key] = generator
    if adapters is not None:
        adapters.add_loras_to(generator)
    return generator


def _newly_loaded(model: "CheckpointOptions", adapters: "AdapterOptions | None") -> "ClipGenerator":
    """A newly loaded generator with its new words."""
    kept = _kept.get()
    while kept:  # one at a time: two checkpoints may not fit into memory
        kept.popitem()[1].close()
    from riffusion.generation.generator import ClipGenerator

    generator = ClipGenerator.load(model.checkpoint, model.device, engine=model.engine)
    try:
        if adapters is not None:
            adapters.add_embeddings_to(generator)
    except BaseException:
        generator.close()
        raise
    return generator
