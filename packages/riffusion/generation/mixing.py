"""The layout of a clip from one text, and its details from another."""

from dataclasses import replace

from riffusion.diffusion.magic_mix import MagicMix
from riffusion.diffusion.stages import ProgressCallback
from riffusion.generation.generator import ClipGenerator, ResolvedInput


def with_layout(
    generator: ClipGenerator,
    resolved: ResolvedInput,
    layout: str,
    mix: MagicMix,
    on_progress: ProgressCallback | None = None,
) -> ResolvedInput:
    """Draw the image of another text, and mix it into a clip.

    Both have the same noise.

    Args:
        generator: draws the image.
        resolved: a request of mode txt2img; its prompt gives the details.
        layout: the text that gives the layout.
        mix: how the two are mixed.
        on_progress: called with (steps done, total steps) of the layout.

    Returns:
        The request for the clip.
    """
    inputs = resolved.inputs
    start = inputs.start.model_copy(update={"prompt": layout})
    first = replace(resolved, inputs=inputs.model_copy(update={"start": start, "end": start}))
    handle = generator.start(first, on_progress)
    try:
        image = handle.image.result()
    except BaseException:  # includes Ctrl-C
        handle.cancel()
        raise
    start = inputs.start.model_copy(update={"denoising": mix.high})
    update = {"start": start, "end": start, "mode": "img2img", "duration_s": None}
    return replace(resolved, inputs=inputs.model_copy(update=update), init_image=image, mix=mix)
