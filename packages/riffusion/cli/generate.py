"""`riffusion generate`: text to audio."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli import options
from riffusion.cli.best_clips import BestClips, check_best
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.clip_requests import (
    InitOptions,
    build_request,
    check_ids,
    check_weights,
    draw_seed,
)
from riffusion.cli.magic_mix import LayoutOptions
from riffusion.cli.option_groups import (
    AdapterOptions,
    CheckpointOptions,
    DiffusionOptions,
    expand_option_groups,
)
from riffusion.cli.outputs import (
    check_audio_output,
    check_image_output,
    path_with_seed,
    save_image,
    write_segment,
)
from riffusion.cli.promises import PromiseOptions, print_promised
from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.generation.generator import Clip

MAX_COUNT = 10_000


@expand_option_groups
def generate(
    prompt: Annotated[
        str,
        typer.Argument(
            help="What the music sounds like. (word:1.5) strengthens a word, [word] weakens it.",
            show_default=False,
        ),
    ],
    *,
    output: options.AudioOutput,
    image: options.ImageOutput = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed makes the same clip; default: a random seed, which is printed.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            help="Number of clips, with seeds that count up from --seed; `-o a.mp3` then writes "
            "a-<seed>.mp3."
        ),
    ] = 1,
    best: Annotated[
        int | None,
        typer.Option(
            help="Write only this many of the clips: the ones that --judge finds best.",
            show_default=False,
        ),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a classifier that `riffusion evaluate` has trained, or of a CLAP "
            "model.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            help="Length in seconds, up to 60; default: 5.12. Not with a starting image or audio, "
            "which sets the length.",
            show_default=False,
        ),
    ] = None,
    promises: PromiseOptions,
    diffusion: DiffusionOptions,
    init: InitOptions,
    layout: LayoutOptions,
    adapters: AdapterOptions,
    model: CheckpointOptions,
) -> None:
    """Make audio from text.

    The clip is made from noise alone, or from an image or audio to start from. The default here is
    20 steps of dpmsolver++; requests to a server have a default of 50 steps.

    With --tempo, --key or --beats it starts from a loop (default: og_beat) that is made for them.
    What is heard in the clip is printed; a clip that isn't as promised is drawn again, up to three
    times, each time closer to the loop unless --denoising is given.

    With --magic-mix, a clip of that text is drawn first. Its layout stays, and the details change.
    """
    from riffusion.promises.promise import check_promise

    if not 1 <= count <= MAX_COUNT:
        raise InputError(f"{count} must be from 1 to {MAX_COUNT}", field="count")
    check_best(count, best, judge)
    first_seed = draw_seed() if seed is None else seed
    seeds = range(first_seed, first_seed + count)
    if duration is not None and promises.are_given:
        raise InputError(
            f"{duration} does not go with --tempo, --key and --beats: a clip lasts beats · 60 / "
            "tempo seconds; name the beats instead",
            field="duration",
        )
    init = promises.with_loop(init)
    fields, media = init.fields(), init.media()
    mix = layout.mix()
    if mix is not None and fields["mode"] != "txt2img":
        raise InputError(
            "goes without a starting image or audio and without --tempo, --key and --beats, as the "
            "layout is drawn from its text; leave out one of them",
            field="magic_mix",
        )
    added = adapters.request_fields(model)
    if duration is not None and fields["mode"] != "txt2img":
        raise InputError(
            f"{duration} does not go with a starting image or audio, which sets the length; "
            "leave it out",
            field="duration",
        )
    if diffusion.denoising is not None and fields["mode"] == "txt2img":
        raise InputError(
            f"{diffusion.denoising} needs an image or audio to start from; add --seed-image, "
            "--init-image or --init-audio",
            field="denoising",
        )
    requests = [
        build_request(
            {
                "start": {
                    "prompt": prompt,
                    "seed": clip_seed,
                    **diffusion.prompt_fields(),
                },
                "duration_s": duration,
                **diffusion.request_fields(),
                **added,
                **fields,
                **promises.fields(),
            }
        )
        for clip_seed in (seeds[0], seeds[-1])  # the seeds between are valid if these two are
    ]
    check_audio_output(output)
    if image is not None:
        check_image_output(image)
    check_ids(requests[0], model.checkpoint, media)
    check_weights(requests[0])
    check_promise(requests[0])
    from riffusion.promises.drawing import resolve

    maker = ClipMaker(model, adapters)
    promised = resolve(maker.generator, requests[0], media)
    kept = None
    if best is not None and judge is not None:
        from riffusion.evaluation.ranking import load_judge

        kept = BestClips(best, load_judge(judge, prompt, promised.resolved.params))
    for index, clip_seed in enumerate(seeds):
        start = requests[0].start.model_copy(update={"seed": clip_seed})
        print(f"seed        {clip_seed}")
        request = requests[0].model_copy(update={"start": start, "end": start})
        resolved = replace(promised.resolved, inputs=request)
        if mix is not None and layout.magic_mix is not None:
            resolved = maker.with_layout(resolved, layout.magic_mix, mix)
        made = maker.make_promised(
            replace(promised, resolved=resolved), f"clip {index + 1} of {count}"
        )
        print_promised(made)
        if kept is None:
            _write(made.clip, clip_seed if count > 1 else None, output, image)
        else:
            print(f"score       {kept.add(clip_seed, made.clip):.4g}")
    for clip_seed, clip in kept or ():
        _write(clip, clip_seed if count > 1 else None, output, image)


def _write(clip: "Clip", seed: int | None, output: Path, image: Path | None) -> None:
    """Write a clip, and its image if asked for; with a seed in their names, if there is one."""
    path = output if seed is None else path_with_seed(output, seed)
    write_segment(clip.audio, path)
    print(f"Wrote {path} ({clip.audio.duration_s:.2f} seconds)")
    if image is not None:
        image_path = image if seed is None else path_with_seed(image, seed)
        save_image(clip.image, image_path)
        print(f"Wrote {image_path} ({clip.image.width}×{clip.image.height} pixels)")
