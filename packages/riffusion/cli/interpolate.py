"""`riffusion interpolate`: from one text to another."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

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
from riffusion.cli.outputs import (
    check_audio_output,
    check_output_dir,
    save_image,
    write_segment,
)
from riffusion.errors import InputError

MAX_STEPS_BETWEEN = 1000


def interpolate(
    start: Annotated[str, typer.Argument(help="Text to begin with.", show_default=False)],
    end: Annotated[str, typer.Argument(help="Text to end with.", show_default=False)],
    *,
    output: options.AudioOutput,
    steps_between: Annotated[
        int, typer.Option(help="Clips from the first text to the second, both included.")
    ] = 5,
    images_dir: Annotated[
        Path | None, typer.Option(help="Keep the images in this folder.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the first clip; drawn by default.", show_default=False),
    ] = None,
    end_seed: Annotated[
        int | None,
        typer.Option(help="Seed of the last clip; default that of the first.", show_default=False),
    ] = None,
    crossfade: Annotated[float, typer.Option(help="Seconds of fading from clip to clip.")] = 0.1,
    steps: options.Steps = options.DEFAULT_STEPS,
    scheduler: options.Scheduler = options.DEFAULT_SCHEDULER,
    guidance: options.Guidance = 7.0,
    negative_prompt: options.NegativePrompt = None,
    denoising: options.Denoising = None,
    seed_image: options.SeedImage = None,
    init_image: options.InitImage = None,
    init_audio: options.InitAudio = None,
    mask_image: options.MaskImage = None,
    checkpoint: options.Checkpoint = None,
    device: options.Device = None,
) -> None:
    """Make a piece that goes from one text to another.

    A clip is made for each step, and the clips are joined.

    Fading from clip to clip does not change the beat: each clip goes on with its own beginning
    while the next one fades in, so the piece lasts as long as its clips together.
    """
    if not 2 <= steps_between <= MAX_STEPS_BETWEEN:
        raise InputError(
            f"{steps_between} must be from 2 to {MAX_STEPS_BETWEEN}", field="steps_between"
        )
    if not 0 <= crossfade <= 1:
        raise InputError(f"{crossfade} must be from 0 to 1 second", field="crossfade")
    if seed_image is None and init_image is None and init_audio is None:
        seed_image = "og_beat"
    init = InitOptions(seed_image, init_image, init_audio, mask_image)
    fields, media = init.fields(), init.media()
    first_seed = draw_seed() if seed is None else seed
    last_seed = first_seed if end_seed is None else end_seed
    shared = {
        "negative_prompt": negative_prompt,
        "guidance": guidance,
        **strength_field(denoising),
    }
    request = build_request(
        {
            "start": {"prompt": start, "seed": first_seed, **shared},
            "end": {"prompt": end, "seed": last_seed, **shared},
            "num_inference_steps": steps,
            "scheduler": scheduler_field(scheduler),
            **fields,
        }
    )
    check_audio_output(output)
    if images_dir is not None:
        check_output_dir(images_dir)
    check_ids(request, checkpoint, media)
    maker = ClipMaker(checkpoint, device)
    resolved = maker.generator.resolve(request, media)
    clip_s = resolved.init_duration_s
    if clip_s is not None and crossfade > clip_s:
        raise InputError(
            f"{crossfade} is longer than a clip of {clip_s:g} s; shorten it", field="crossfade"
        )
    print(f"seeds       {first_seed} to {last_seed}")
    clips = []
    for index in range(steps_between):
        alpha = index / (steps_between - 1)
        print(f"alpha       {alpha:.3f}")
        at_alpha = replace(resolved, inputs=request.model_copy(update={"alpha": alpha}))
        clip = maker.make(at_alpha, f"clip {index + 1} of {steps_between}")
        clips.append(clip.audio)
        if images_dir is not None:
            path = images_dir / f"clip_{index:03}_alpha_{alpha:.3f}.png"
            save_image(clip.image, path)
            print(f"Wrote {path}")
    from riffusion.audio import join_loops

    piece = join_loops(clips, crossfade)
    write_segment(piece, output)
    print(f"Wrote {output} ({piece.duration_s:.2f} seconds)")
