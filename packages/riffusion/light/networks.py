"""A checkpoint's networks as onnxruntime's sessions; see `riffusion.diffusion.networks`.

Names and shapes of inputs and outputs are those of exported folders. All is float32, in NumPy.
"""

from __future__ import annotations

from collections.abc import Hashable
from types import SimpleNamespace

import numpy as np

from riffusion.diffusion.batching import UNetBatch
from riffusion.diffusion.loras import LoraStack
from riffusion.diffusion.networks import TokenIds
from riffusion.errors import GenerationError
from riffusion.light.sessions import Session
from riffusion.runtime.cache import network_key
from riffusion.spectrogram.image import FloatArray


class OnnxTextEncoder:
    """Tokens → embeddings.

    Args:
        session: of the part `text_encoder`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def key(self) -> Hashable:
        """Tells the network from others; its weights never change."""
        return network_key(self)

    def encode(self, chunks: TokenIds, loras: LoraStack) -> FloatArray:
        """Token ids (chunks, tokens) → (chunks, tokens, width). LoRAs were refused before."""
        del loras
        return self._session.run({"input_ids": chunks})["embeddings"]


class OnnxAutoencoder:
    """Images ⇄ latents.

    Args:
        encoder, decoder: sessions of the parts `vae_encoder` and `vae_decoder`.
        pixels_per_latent: in each direction.
    """

    def __init__(self, encoder: Session, decoder: Session, pixels_per_latent: int) -> None:
        self._encoder, self._decoder = encoder, decoder
        self._pixels_per_latent = pixels_per_latent

    @property
    def key(self) -> Hashable:
        """Tells the network from others; its weights never change."""
        return network_key(self)

    def posterior(self, pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of latents, (1, channels, height, width) each.

        Args:
            pixels: (1, 3, height, width) in [-1, 1].

        Raises:
            GenerationError: they aren't finite.
        """
        positions = _positions(pixels) // self._pixels_per_latent**2
        found = self._encoder.run({"pixels": np.ascontiguousarray(pixels, np.float32)}, positions)
        mean = found["latents"]
        deviation = found.get("deviation", np.zeros_like(mean))
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            raise GenerationError("the VAE's latents of the init image are not finite")
        return mean, deviation

    def decode(self, latents: FloatArray) -> FloatArray:
        """Latents → pixels, (batch, 3, height, width), approximately in [-1, 1]."""
        return self._decoder.run({"latents": latents}, _positions(latents))["pixels"]


class OnnxUNet:
    """The UNet.

    Args:
        session: of the part `unet`.
        channels: those of the latents.
        guidance_width: width of `timestep_cond`; None if it takes none.

    Attributes:
        config: the settings of a UNet of diffusers that the pipeline reads.
        device: where it computes.
        dtype: type of its arrays.
    """

    device = "cpu"
    dtype = np.dtype(np.float32)

    def __init__(self, session: Session, channels: int, guidance_width: int | None) -> None:
        self._session = session
        self.config = SimpleNamespace(in_channels=channels, time_cond_proj_dim=guidance_width)

    def __call__(self, batch: UNetBatch) -> FloatArray:
        """The predictions of a batch, (rows, channels, height, width)."""
        mask = batch.mask
        if mask is None:
            mask = np.ones(batch.embeddings.shape[:2], np.float32)
        inputs = {
            "sample": batch.rows,
            "timestep": batch.timesteps,
            "encoder_hidden_states": batch.embeddings,
            "encoder_attention_mask": mask,
        }
        if batch.timestep_cond is not None:
            inputs["timestep_cond"] = batch.timestep_cond
        return self._session.run(inputs, _positions(batch.rows))["prediction"]


def _positions(rows: FloatArray) -> int:
    """Height × width of (rows, channels, height, width)."""
    height, width = rows.shape[-2:]
    return int(height * width)
