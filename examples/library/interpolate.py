"""From one prompt to another without a server: python interpolate.py out.wav

Several clips share each UNet call: the engine batches whatever is submitted to it.
"""

import sys

from PIL import Image

from riffusion.datatypes import InferenceInput, PromptInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.engine import Engine
from riffusion.spectrogram_image_converter import SpectrogramImageConverter
from riffusion.util.audio_util import stitch_segments

NUM_CLIPS = 3


def main(path: str) -> None:
    pipeline = RiffusionPipeline.from_pretrained("data/demo-checkpoint")
    converter = SpectrogramImageConverter(pipeline.spectrogram_params)
    seed_image = Image.open("data/seed_images/og_beat.png")
    engine = Engine(pipeline)
    requests = [
        engine.submit(
            InferenceInput(
                start=PromptInput(prompt="piano", seed=1),
                end=PromptInput(prompt="church bells", seed=1),
                alpha=index / (NUM_CLIPS - 1),
                num_inference_steps=8,
                scheduler="dpmsolver++",
            ),
            seed_image,
        )
        for index in range(NUM_CLIPS)
    ]
    clips = [converter.audio_from_spectrogram_image(request.image.result()) for request in requests]
    engine.close()
    stitch_segments(clips, crossfade_s=0.1).export(path, format="wav")
    print(f"Wrote {path}")


if __name__ == "__main__":
    main(sys.argv[1])
