"""Audio embeddings of an outside model, CLAP, from a folder that is at hand; nothing is fetched.

The classifier's features know only the data set's labels; CLAP (Y. Wu et al., "Large-scale
contrastive language-audio pretraining", ICASSP 2023) has heard much else. Real clips go from
image to sound as drawn ones do, so that what inversion loses counts on both sides.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from riffusion.audio import convert, waveform_from_segment
from riffusion.errors import CheckpointError, InputError
from riffusion.evaluation.classifier.network import Features
from riffusion.evaluation.images import Plane, image_from_plane
from riffusion.evaluation.progress import Progress, silent
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams


class ClapEmbedder:
    """A CLAP model in Hugging Face's format.

    Args:
        directory: holds `config.json`, `preprocessor_config.json` and the weights.
        params: of the images.

    Raises:
        InputError: the folder isn't there.
        CheckpointError: it holds no CLAP model.
    """

    def __init__(self, directory: Path, params: SpectrogramParams) -> None:
        if not (directory / "config.json").is_file():
            raise InputError(
                f"{str(directory)!r} has no config.json; name a folder with a CLAP model in "
                "Hugging Face's format, such as a copy of laion/clap-htsat-unfused",
                field="clap",
            )
        from transformers import ClapFeatureExtractor, ClapModel

        try:
            self._model = ClapModel.from_pretrained(directory, local_files_only=True).eval()
            self._extract = ClapFeatureExtractor.from_pretrained(directory, local_files_only=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"clap={str(directory)!r} holds no CLAP model that can be read ({reason}); take an "
                "undamaged copy"
            ) from error
        self._directory = directory
        self._converter = SpectrogramImageConverter(params, device="cpu")

    def embed(
        self, planes: Sequence[Plane], progress: Progress = silent, stage: str = "CLAP"
    ) -> Features:
        """Embeddings (clips, features) of how planes sound, each of norm 1.

        Raises:
            CheckpointError: an embedding holds NaN.
        """
        rate = int(self._extract.sampling_rate)
        embeddings = []
        with progress(stage) as move:
            for plane in planes:
                image = image_from_plane(plane, self._converter.p)
                segment = self._converter.audio_from_spectrogram_image(image)
                segment = convert(segment, sample_rate=rate, channels=1)
                inputs = self._extract(
                    waveform_from_segment(segment)[0], sampling_rate=rate, return_tensors="pt"
                )
                with torch.inference_mode():
                    found = self._model.get_audio_features(**inputs)
                vector = getattr(found, "pooler_output", found)[0].double().numpy()
                if not np.isfinite(vector).all():
                    raise CheckpointError(
                        f"clap={str(self._directory)!r} hears NaN; take an undamaged copy"
                    )
                embeddings.append(vector / max(float(np.linalg.norm(vector)), 1e-12))
                move(len(embeddings), len(planes))
        return np.stack(embeddings)
