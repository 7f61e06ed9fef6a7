"""A recording to its spectrogram image and back: python spectrogram.py song.wav song.png again.wav

The image's EXIF holds the parameters that its audio was analysed with.
"""

import sys

from PIL import Image
from pydub import AudioSegment

from riffusion.spectrogram_image_converter import SpectrogramImageConverter
from riffusion.spectrogram_params import SpectrogramParams


def main(recording: str, image_path: str, audio_path: str) -> None:
    converter = SpectrogramImageConverter(SpectrogramParams(min_frequency=0, max_frequency=10_000))
    segment = AudioSegment.from_wav(recording)
    image = converter.spectrogram_image_from_audio(segment)
    image.save(image_path, exif=image.getexif())

    again = Image.open(image_path)
    params = SpectrogramParams.from_exif(again.getexif())
    back = SpectrogramImageConverter(params).audio_from_spectrogram_image(again)
    back.export(audio_path, format="wav")
    print(f"Wrote {image_path} and {audio_path} ({back.duration_seconds:.2f} seconds)")


if __name__ == "__main__":
    main(*sys.argv[1:4])
