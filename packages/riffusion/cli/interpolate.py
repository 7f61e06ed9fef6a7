"""`riffusion interpolate`: a piece that moves from one text to another."""

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
    check_weights,
    draw_seed,
)
from riffusion.cli.option_groups import (
    AdapterOptions,
    CheckpointOptions,
    DiffusionOptions,
    expand_option_groups,
    with_default_loop,
)
from riffusion.cli.outputs import (
    check_audio_output,
    check_output_dir,
    save_image,
    write_segment,
)
from riffusion.cli.promises import PromisedPiece, PromiseOptions
from riffusion.errors import InputError

MAX_STEPS_BETWEEN = 1000


@expand_option_groups
def interpolate(
    start: Annotated[str, typer.Argument(help="Text of the first clip.", show_default=False)],
    end: Annotated[str, typer.Argument(help="Text of the last clip.", show_default=False)],
    *,
    output: options.AudioOutput,
    steps_between: Annotated[
        int, typer.Option(help="Number of clips, the first and the last one included.")
    ] = 5,
    images_dir: Annotated[
        Path | None, typer.Option(help="Also write the images to this folder.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the first clip; default: a random one.", show_default=False),
    ] = None,
    end_seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the last clip; default: the seed of the first.", show_default=False
        ),
    ] = None,
    crossfade: Annotated[float, typer.Option(help="Crossfade between clips in seconds.")] = 0.1,
    promises: PromiseOptions,
    diffusion: DiffusionOptions,
    init: InitOptions,
    adapters: AdapterOptions,
    model: CheckpointOptions,
) -> None:
    """Make a piece that moves from one text to another.

    Each clip is a step further from the first text to the last. All clips start from the same loop
    (default: og_beat), and they are joined with crossfades.

    Crossfades do not disturb the beat: each clip repeats its own beginning while the next one
    fades in, so the piece is as long as all clips together.

    With --tempo, --key or --beats the loop is made for them, and each clip is put right, so that
    all are on one grid of beats. None is drawn again, since it would leave the way.
    """
    from riffusion.promises.promise import check_promise

    if not 2 <= steps_between <= MAX_STEPS_BETWEEN:
        raise InputError(
            f"{steps_between} must be from 2 to {MAX_STEPS_BETWEEN}", field="steps_between"
        )
    if not 0 <= crossfade <= 1:
        raise InputError(f"{crossfade} must be from 0 to 1 second", field="crossfade")
    init = with_default_loop(init)
    fields, media = init.fields(), init.media()
    added = adapters.request_fields(model)
    first_seed = draw_seed() if seed is None else seed
    last_seed = first_seed if end_seed is None else end_seed
    shared = diffusion.prompt_fields()
    request = build_request(
        {
            "start": {"prompt": start, "seed": first_seed, **shared},
            "end": {"prompt": end, "seed": last_seed, **shared},
            **diffusion.request_fields(),
            **added,
            **fields,
            **promises.fields(),
        }
    )
    check_audio_output(output)
    if images_dir is not None:
        check_output_dir(images_dir)
    check_ids(request, model.checkpoint, media)
    check_weights(request)
    check_promise(request)
    from riffusion.promises.drawing import fitted_once, resolve

    maker = ClipMaker(model, adapters)
    promised = resolve(maker.generator, request, media)
    resolved, clip_s = promised.resolved, promised.duration_s
    if clip_s is not None and crossfade > clip_s:
        raise InputError(
            f"{crossfade} is longer than a clip of {clip_s:g} s; shorten it", field="crossfade"
        )
    print(f"seeds       {first_seed} to {last_seed}")
    clips, heard = [], PromisedPiece()
    for index in range(steps_between):
        alpha = index / (steps_between - 1)
        print(f"alpha       {alpha:.3f}")
        at_alpha = replace(resolved, inputs=request.model_copy(update={"alpha": alpha}))
        drawn = maker.make(at_alpha, f"clip {index + 1} of {steps_between}")
        made = fitted_once(maker.generator, promised, drawn)
        heard.add(made)
        clips.append(made.clip.audio)
        if images_dir is not None:
            path = images_dir / f"clip_{index:03}_alpha_{alpha:.3f}.png"
            save_image(made.clip.image, path)
            print(f"Wrote {path}")
    from riffusion.audio import join_loops

    piece = join_loops(clips, crossfade)
    write_segment(piece, output)
    heard.print()
    print(f"Wrote {output} ({piece.duration_s:.2f} seconds)")
