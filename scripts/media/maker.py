"""Draws clips with the loaded checkpoint, and writes pictures and audio files."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from riffusion.audio import Audio, encode_audio, format_from_path, resample
from riffusion.datatypes import InferenceInput
from riffusion.generation.generator import Clip, ClipGenerator
from riffusion.generation.media import Media
from riffusion.io.files import write_file

GUIDANCE = 4.0
"""Guidance scale of every clip, as in `make demo`."""
GUIDED = {"scheduler": "dpmsolver++", "num_inference_steps": 20}
"""Request fields of clips that name no preset, as in `riffusion generate`."""
_WEBP_METHOD = 6
"""The slowest and best compression."""


class MediaMaker:
    """Draws clips with one checkpoint, and writes files into one folder.

    Args:
        generator: the loaded checkpoint.
        root: the repository's root, or a folder that stands for it.
        steps: number of steps of every clip, for a quick try; None for as many as each is about.

    Attributes:
        steps: as given.
        written: the files so far, relative to `root`, with their sizes in bytes.
    """

    def __init__(self, generator: ClipGenerator, root: Path, steps: int | None = None) -> None:
        self.generator = generator
        self.root = root
        self.written: dict[str, int] = {}
        self.steps = steps
        self._steps = {} if steps is None else {"num_inference_steps": steps}

    def draw(self, prompt: str, seed: int, mode: str = "txt2img", **fields: Any) -> Clip:
        """Draw a clip.

        Args:
            prompt, seed, mode: fields of the request.
            fields: further ones. `end` and `denoising` are for both ends; without a preset, the
                scheduler is DPM-Solver++ with 20 steps.

        Raises:
            InputError: the checkpoint can't do it, or a field is invalid.
        """
        denoising = {"denoising": fields.pop("denoising")} if "denoising" in fields else {}
        prompts = [prompt, fields.pop("end", prompt)]
        start, end = (
            {"prompt": text, "seed": seed, "guidance": GUIDANCE, **denoising} for text in prompts
        )
        settings = fields if "preset" in fields else {**GUIDED, **fields}
        return self._make(
            {"start": start, "end": end, "mode": mode, **settings, **self._steps}, Media()
        )

    def play(self, image: Image.Image) -> Clip:
        """The clip of a finished image, by the same inversion that drawn images pass through."""
        request = {"start": {"prompt": "", "seed": 0}, "mode": "image_to_audio"}
        return self._make(request, Media(init_image=image))

    def write_picture(
        self, image: Image.Image, path: str, *, side: int | None = None, quality: int = 80
    ) -> None:
        """Write a picture; see `webp`."""
        self.write(webp(image, side=side, quality=quality), path)

    def write_audio(
        self,
        audio: Audio,
        path: str,
        *,
        rate_hz: int | None = None,
        bitrate_kbps: int | None = None,
    ) -> None:
        """Write audio in the format of the path's extension.

        Args:
            audio: the audio.
            path: relative to the root.
            rate_hz: sample rate of the file; None keeps the audio's.
            bitrate_kbps: bit rate of a lossy file; None for the format's default.
        """
        if rate_hz is not None:
            audio = Audio(resample(audio.waveform, audio.sample_rate, rate_hz), rate_hz)
        self.write(encode_audio(audio, format_from_path(path), bitrate_kbps=bitrate_kbps), path)

    def write(self, data: bytes, path: str) -> None:
        """Write a file, whole or not at all, and print its name and size.

        Raises:
            InputError: it can't be written.
        """
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(data, target)
        self.written[path] = len(data)
        print(f"{len(data):>8} bytes  {path}", flush=True)

    def _make(self, request: dict[str, Any], media: Media) -> Clip:
        resolved = self.generator.resolve(InferenceInput.parse(request), media)
        return self.generator.generate(resolved)


def webp(image: Image.Image, *, side: int | None = None, quality: int = 80) -> bytes:
    """Encode a picture as lossy WebP, without EXIF.

    Args:
        image: a spectrogram image.
        side: width and height in pixels; None keeps the image's.
        quality: of WebP, 0 to 100.
    """
    picture = image.convert("RGB")
    if side is not None:
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=quality, method=_WEBP_METHOD)
    return stream.getvalue()
