"""The clip that the README begins with: the same as `make demo` makes."""

from riffusion.generation.generator import Clip
from riffusion.io.images import encode_image
from scripts.media.maker import MediaMaker

PROMPT, SEED, STEPS = "church bells", 42, 25


def draw_readme_clip(maker: MediaMaker) -> Clip:
    """Draw the clip, without writing it."""
    return maker.draw(PROMPT, SEED, num_inference_steps=STEPS)


def make_readme_media(maker: MediaMaker) -> None:
    """Write the image and the audio of the clip into docs/."""
    clip = draw_readme_clip(maker)
    maker.write(encode_image(clip.image, "png"), "docs/images/church_bells.png")
    maker.write_audio(clip.audio, "docs/audio/church_bells.mp3")
