"""The pictures and clips of web/about.html."""

from riffusion.audio import join_loops
from scripts.media.maker import MediaMaker
from scripts.media.readme import PROMPT, SEED, STEPS, draw_readme_clip

FOLDER = "web/public/about"
FEW_STEPS = (2, 5)
"""Numbers of steps after which the page shows the image."""
LOOP = "og_beat"
LOOP_PROMPT, LOOP_SEED, DENOISING = "piano", 3, (0.5, 0.85)
"""What is drawn over the loop, and how much of it is changed."""
END = "jazz trio"
CROSSFADE_S = 0.1


def make_about_media(maker: MediaMaker) -> None:
    """Write everything that the page shows."""
    bells = draw_readme_clip(maker)
    maker.write_picture(bells.image, f"{FOLDER}/church_bells.webp")
    maker.write_audio(bells.audio, f"{FOLDER}/church_bells.mp3")
    for steps in FEW_STEPS:
        clip = maker.draw(PROMPT, SEED, num_inference_steps=steps)
        maker.write_picture(clip.image, f"{FOLDER}/steps_{steps}.webp")
    _make_loop_media(maker)
    between, trio = (
        maker.draw(PROMPT, SEED, end=END, alpha=alpha, num_inference_steps=STEPS)
        for alpha in (0.5, 1.0)
    )
    maker.write_picture(between.image, f"{FOLDER}/between.webp")
    maker.write_picture(trio.image, f"{FOLDER}/jazz_trio.webp")
    piece = join_loops([bells.audio, between.audio, trio.audio], CROSSFADE_S)
    maker.write_audio(piece, f"{FOLDER}/between.mp3")


def _make_loop_media(maker: MediaMaker) -> None:
    """The seed loop, and a prompt drawn over it with less and with more denoising."""
    loop = maker.generator.library.seed_image(LOOP)
    maker.write_picture(loop, f"{FOLDER}/seed.webp")
    maker.write_audio(maker.play(loop).audio, f"{FOLDER}/seed.mp3")
    for denoising in DENOISING:
        clip = maker.draw(
            LOOP_PROMPT,
            LOOP_SEED,
            "img2img",
            seed_image_id=LOOP,
            denoising=denoising,
            num_inference_steps=STEPS,
        )
        name = f"{FOLDER}/denoising_{round(100 * denoising)}"
        maker.write_picture(clip.image, f"{name}.webp")
        maker.write_audio(clip.audio, f"{name}.mp3")
