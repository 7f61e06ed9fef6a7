"""`riffusion generate`: text to audio."""

from dataclasses import replace
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
    check_image_output,
    path_with_seed,
    save_image,
    write_segment,
)
from riffusion.errors import InputError

MAX_COUNT = 10_000


def generate(
    prompt: Annotated[
        str,
        typer.Argument(help="What to draw. (word:1.5) and [word] weigh parts.", show_default=False),
    ],
    *,
    output: options.AudioOutput,
    image: options.ImageOutput = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Same seed, same clip; drawn and printed by default.", show_default=False
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(help="Clips, with seeds from --seed on; -o a.mp3 writes a-<seed>.mp3.")
    ] = 1,
    duration: Annotated[
        float | None,
        typer.Option(help="Seconds, up to 60; default 5.12. Text alone only.", show_default=False),
    ] = None,
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
    """Make audio from text.

    Without an image or sound to paint over, the clip is made from noise alone. 20 steps of
    dpmsolver++ are the default here; requests to a server default to 50 steps.
    """
    if not 1 <= count <= MAX_COUNT:
        raise InputError(f"{count} must be from 1 to {MAX_COUNT}", field="count")
    first_seed = draw_seed() if seed is None else seed
    seeds = range(first_seed, first_seed + count)
    init = InitOptions(seed_image, init_image, init_audio, mask_image)
    fields, media = init.fields(), init.media()
    if duration is not None and fields["mode"] != "txt2img":
        raise InputError(
            f"{duration} goes with text alone; what is painted over decides the length",
            field="duration",
        )
    if denoising is not None and fields["mode"] == "txt2img":
        raise InputError(
            f"{denoising} goes with something to paint over; add --seed-image, --init-image or "
            "--init-audio",
            field="denoising",
        )
    requests = [
        build_request(
            {
                "start": {
                    "prompt": prompt,
                    "seed": clip_seed,
                    "negative_prompt": negative_prompt,
                    "guidance": guidance,
                    **strength_field(denoising),
                },
                "num_inference_steps": steps,
                "scheduler": scheduler_field(scheduler),
                "duration_s": duration,
                **fields,
            }
        )
        for clip_seed in (seeds[0], seeds[-1])  # what lies between is valid if these are
    ]
    check_audio_output(output)
    if image is not None:
        check_image_output(image)
    check_ids(requests[0], checkpoint, media)
    maker = ClipMaker(checkpoint, device)
    resolved = maker.generator.resolve(requests[0], media)
    for index, clip_seed in enumerate(seeds):
        start = requests[0].start.model_copy(update={"seed": clip_seed})
        print(f"seed        {clip_seed}")
        request = requests[0].model_copy(update={"start": start, "end": start})
        clip = maker.make(replace(resolved, inputs=request), f"clip {index + 1} of {count}")
        path = output if count == 1 else path_with_seed(output, clip_seed)
        write_segment(clip.audio, path)
        print(f"Wrote {path} ({clip.audio.duration_s:.2f} seconds)")
        if image is not None:
            image_path = image if count == 1 else path_with_seed(image, clip_seed)
            save_image(clip.image, image_path)
            print(f"Wrote {image_path} ({clip.image.width}×{clip.image.height} pixels)")
