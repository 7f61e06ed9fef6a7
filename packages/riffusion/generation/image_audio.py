"""The audio of images and images of audio, computed beside the engine."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from PIL import Image

from riffusion.audio import Audio, AudioSegment
from riffusion.runtime.threads import single_threaded
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams

if TYPE_CHECKING:
    import torch


class ImageAudio:
    """Converts between images and audio while the engine works on other clips.

    Args:
        device: the engine's device, as `torch.device` or the light pipeline names it.
        params: the checkpoint's spectrogram parameters.

    Attributes:
        stream: on CUDA, the stream of the conversions.
    """

    def __init__(self, device: Any, params: SpectrogramParams) -> None:
        self._device = device
        self._params = params
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            import torch

            # Audio goes first: it is short, and would otherwise wait behind the UNet's graphs.
            self.stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call] # torch is half typed
        self._image_converter = functools.lru_cache(maxsize=4)(self._new_image_converter)

    @contextmanager
    def beside_the_engine(self) -> Iterator[None]:
        """Context for work outside the engine's thread: no OpenMP team, its own CUDA stream."""
        with single_threaded():
            if self.stream is None:
                yield
                return
            import torch

            with torch.cuda.stream(self.stream):
                yield

    @property
    def converter(self) -> SpectrogramConverter:
        """Converts audio with the checkpoint's spectrogram parameters."""
        return self._image_converter(self._params).converter

    def image_from_audio(self, segment: AudioSegment) -> Image.Image:
        """Spectrogram image of a segment, with the checkpoint's spectrogram parameters."""
        with self.beside_the_engine():
            return self._image_converter(self._params).spectrogram_image_from_audio(segment)

    def audio_from_image(
        self, image: Image.Image, params: SpectrogramParams, *, circular: bool
    ) -> Audio:
        """The audio of an image; see `SpectrogramImageConverter.audio_from_spectrogram_image`."""
        with self.beside_the_engine():
            waveform = self._image_converter(params).waveform_from_spectrogram_image(
                image, circular=circular
            )
        return Audio(waveform, params.sample_rate)

    def _new_image_converter(self, params: SpectrogramParams) -> SpectrogramImageConverter:
        return SpectrogramImageConverter(params, device=self._device)
