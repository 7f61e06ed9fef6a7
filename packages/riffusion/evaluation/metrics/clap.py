"""Embeddings of CLAP, a model from elsewhere, for audio and text; read from a local folder.

The classifier's features are trained on the data set's labels only; CLAP (Y. Wu et al.,
"Large-scale contrastive language-audio pretraining", ICASSP 2023) is trained on far more audio.
Real clips are inverted from image to audio like drawn ones, so that both have the same losses.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from riffusion.audio import resample, with_channels
from riffusion.errors import CheckpointError, InputError
from riffusion.evaluation.audio import waveform_from_plane
from riffusion.evaluation.classifier.network import Features
from riffusion.evaluation.images import Plane
from riffusion.evaluation.progress import Progress, silent
from riffusion.spectrogram.params import SpectrogramParams

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json")


class ClapEmbedder:
    """A CLAP model in Hugging Face's format.

    Args:
        directory: folder of `config.json`, `preprocessor_config.json` and the weights.
        params: spectrogram parameters of the images.

    Raises:
        InputError: the folder doesn't exist.
        CheckpointError: it contains no CLAP model.
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
                f"clap={str(directory)!r} contains no readable CLAP model ({reason}); use an "
                "undamaged copy"
            ) from error
        self._directory = directory
        self._params = params

    def embed(
        self, planes: Sequence[Plane], progress: Progress = silent, stage: str = "CLAP"
    ) -> Features:
        """Embeddings (clips, features) of the audio of planes, each of norm 1.

        Raises:
            CheckpointError: an embedding contains NaN.
        """
        rate = int(self._extract.sampling_rate)
        embeddings = []
        with progress(stage) as move:
            for plane in planes:
                mono = with_channels(waveform_from_plane(plane, self._params), 1)
                mono = resample(mono, self._params.sample_rate, rate)
                inputs = self._extract(mono[0], sampling_rate=rate, return_tensors="pt")
                with torch.inference_mode():
                    found = self._model.get_audio_features(**inputs)
                vector = getattr(found, "pooler_output", found)[0].double().numpy()
                if not np.isfinite(vector).all():
                    raise CheckpointError(
                        f"clap={str(self._directory)!r} returns NaN; use an undamaged copy"
                    )
                embeddings.append(vector / max(float(np.linalg.norm(vector)), 1e-12))
                move(len(embeddings), len(planes))
        return np.stack(embeddings)

    def embed_texts(self, texts: Sequence[str]) -> Features:
        """Embeddings (texts, features) in the same space, each of norm 1.

        Raises:
            CheckpointError: the folder contains no tokenizer.
        """
        from transformers import AutoTokenizer

        try:
            # Without these files transformers makes a tokenizer that knows no word.
            if not any((self._directory / name).is_file() for name in _TOKENIZER_FILES):
                raise OSError(f"neither {' nor '.join(_TOKENIZER_FILES)}")
            tokenizer = AutoTokenizer.from_pretrained(self._directory, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"clap={str(self._directory)!r} contains no readable tokenizer ({reason}); copy "
                "the whole folder of the model"
            ) from error
        inputs = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            found = self._model.get_text_features(**inputs)
        vectors: Features = getattr(found, "pooler_output", found).double().numpy()
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        return vectors
