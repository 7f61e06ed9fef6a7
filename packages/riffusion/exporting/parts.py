"""The parts of a checkpoint that are exported: their networks as functions of named tensors.

text_encoder  input_ids (rows, tokens) int64 → embeddings (rows, tokens, width)
unet          sample (rows, channels, height, width), timestep (rows,), encoder_hidden_states
              (rows, tokens, width), encoder_attention_mask (rows, tokens), and timestep_cond
              (rows, width) for one that takes the guidance → prediction, shaped as sample
vae_encoder   pixels (rows, 3, height, width) in [-1, 1] → latents, and deviation for a VAE
vae_decoder   latents (rows, channels, height, width) → pixels

Everything but `input_ids` is float32. Latents are multiplied by the VAE's scaling factor, as in
`riffusion.diffusion.vae.LatentCodec`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from riffusion.checkpoint import autoencoders
from riffusion.checkpoint.loader import Components
from riffusion.checkpoint.manifest import ExportedShape
from riffusion.diffusion.guidance_embedding import guidance_width
from riffusion.diffusion.preparation import ImageSizes

Tensors = dict[str, torch.Tensor]
Axes = Mapping[int, str]

_LATENT_AXES = {0: "rows", 2: "height", 3: "width"}
_TOKEN_AXES = {0: "rows", 1: "tokens"}
_MAX_LATENTS = 64 * 64
"""Most latents per row that exported parts are compared at, those of Stable Diffusion's images."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of random inputs.

    Args:
        rows: rows of a batch.
        height, width: size of the latents.
        chunks: chunks of tokens per prompt.
    """

    rows: int
    height: int
    width: int
    chunks: int


@dataclass(frozen=True)
class Part:
    """One exported part.

    Args:
        name: name of the part and of its graph.
        folder: folder of the checkpoint with its weights.
        module: computes the outputs, one tensor or a tuple, from the inputs in their order. Its
            one child, `network`, has the weights.
        inputs, outputs: axes of variable size by name, for each tensor.
        random_inputs: makes inputs from sizes and a generator.
    """

    name: str
    folder: str
    module: nn.Module
    inputs: Mapping[str, Axes]
    outputs: Mapping[str, Axes]
    random_inputs: Callable[[Sizes, torch.Generator], Tensors]


@dataclass(frozen=True)
class Shape:
    """What is fixed about a checkpoint's tensors, and the size of a clip.

    Args:
        fixed: what the manifest says of them.
        vocabulary: number of tokens that the text encoder knows.
        clip_height, clip_width: size of the latents of a clip of the usual length.
    """

    fixed: ExportedShape
    vocabulary: int
    clip_height: int
    clip_width: int

    @classmethod
    def of(cls, components: Components) -> Shape:
        """The shape of a loaded checkpoint."""
        pixels = autoencoders.downsampling_factor(components.vae)
        multiple = pixels * 2 ** (len(components.unet.config.block_out_channels) - 1)
        sizes = ImageSizes(components.spectrogram_params, pixels, multiple)
        width, height = sizes.of_clip().latent_size
        text, tokenizer = components.text_encoder.config, components.tokenizer
        fixed = ExportedShape(
            tokens=int(tokenizer.model_max_length),
            start_token=int(tokenizer.bos_token_id),
            end_token=int(tokenizer.eos_token_id),
            padding_token=int(tokenizer.pad_token_id),
            text_width=int(text.hidden_size),
            latent_channels=int(components.vae.config.latent_channels),
            pixels_per_latent=pixels,
            size_multiple=multiple,
            guidance_width=guidance_width(components.unet),
        )
        return cls(fixed, int(text.vocab_size), height, width)

    @property
    def _cell(self) -> int:
        """Latents that heights and widths are a multiple of."""
        return self.fixed.size_multiple // self.fixed.pixels_per_latent

    def smallest(self) -> Sizes:
        """Small sizes to trace a part with: no axis has one element or the size of another."""
        return Sizes(rows=2, height=2 * self._cell, width=3 * self._cell, chunks=2)

    def compared(self) -> tuple[Sizes, ...]:
        """Sizes that a part is compared at: 1 to 3 rows, one clip and one and a half.

        Images of more than 64 × 64 latents are compared at a part of their height, and so are
        several rows, to save time.
        """
        cell = self._cell
        longer = -(-self.clip_width * 3 // (2 * cell)) * cell

        def height(share: int) -> int:
            most = min(self.clip_height, _MAX_LATENTS // self.clip_width) // share
            return max(cell, most // cell * cell)

        return (
            Sizes(1, height(1), self.clip_width, 1),
            Sizes(2, height(4), longer, 2),
            Sizes(3, height(4), self.clip_width, 2),
        )


def parts_of(components: Components, shape: Shape) -> tuple[Part, ...]:
    """The four parts of a checkpoint whose networks are in single precision on the CPU."""
    vae = components.vae
    latents = dict(_LATENT_AXES)
    deviation = {} if autoencoders.is_deterministic(vae) else {"deviation": latents}
    return (
        Part(
            "text_encoder",
            "text_encoder",
            _TextEncoder(components.text_encoder),
            {"input_ids": _TOKEN_AXES},
            {"embeddings": _TOKEN_AXES},
            lambda sizes, generator: {"input_ids": _random_ids(shape, sizes, generator)},
        ),
        Part(
            "unet",
            "unet",
            _UNet(components.unet),
            {
                "sample": _LATENT_AXES,
                "timestep": {0: "rows"},
                "encoder_hidden_states": _TOKEN_AXES,
                "encoder_attention_mask": _TOKEN_AXES,
                **({"timestep_cond": {0: "rows"}} if shape.fixed.guidance_width else {}),
            },
            {"prediction": _LATENT_AXES},
            lambda sizes, generator: _random_unet_inputs(shape, sizes, generator),
        ),
        Part(
            "vae_encoder",
            "vae",
            _VaeEncoder(vae),
            {"pixels": _LATENT_AXES},
            {"latents": latents, **deviation},
            lambda sizes, generator: {"pixels": _random_pixels(shape, sizes, generator)},
        ),
        Part(
            "vae_decoder",
            "vae",
            _VaeDecoder(vae),
            {"latents": latents},
            {"pixels": _LATENT_AXES},
            lambda sizes, generator: {"latents": _random_latents(shape, sizes, generator)},
        ),
    )


class _TextEncoder(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.network(input_ids)[0]
        return embeddings


class _UNet(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_attention_mask: torch.Tensor,
        timestep_cond: torch.Tensor | None = None,
    ) -> torch.Tensor:
        prediction: torch.Tensor = self.network(
            sample,
            timestep,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            timestep_cond=timestep_cond,
            return_dict=False,
        )[0]
        return prediction


class _VaeEncoder(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scale = float(self.network.config.scaling_factor)
        mean, deviation = autoencoders.posterior(self.network, pixels)
        if autoencoders.is_deterministic(self.network):
            return (mean * scale,)
        return mean * scale, deviation * scale


class _VaeDecoder(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        scale = float(self.network.config.scaling_factor)
        return autoencoders.decoded(self.network, latents / scale)


def _random_ids(shape: Shape, sizes: Sizes, generator: torch.Generator) -> torch.Tensor:
    size = (sizes.rows, shape.fixed.tokens)
    return torch.randint(shape.vocabulary, size, generator=generator)


def _random_latents(shape: Shape, sizes: Sizes, generator: torch.Generator) -> torch.Tensor:
    size = (sizes.rows, shape.fixed.latent_channels, sizes.height, sizes.width)
    return torch.randn(size, generator=generator)


def _random_pixels(shape: Shape, sizes: Sizes, generator: torch.Generator) -> torch.Tensor:
    factor = shape.fixed.pixels_per_latent
    size = (sizes.rows, 3, sizes.height * factor, sizes.width * factor)
    return torch.rand(size, generator=generator) * 2 - 1


def _random_unet_inputs(shape: Shape, sizes: Sizes, generator: torch.Generator) -> Tensors:
    """Noise, timesteps, embeddings; the mask ends every second row after the first chunk."""
    rows, tokens = sizes.rows, sizes.chunks * shape.fixed.tokens
    embeddings = torch.randn(rows, tokens, shape.fixed.text_width, generator=generator)
    mask = torch.ones(rows, tokens)
    mask[1::2, shape.fixed.tokens :] = 0
    inputs = {
        "sample": _random_latents(shape, sizes, generator),
        "timestep": torch.rand(rows, generator=generator) * 999,
        "encoder_hidden_states": embeddings,
        "encoder_attention_mask": mask,
    }
    if shape.fixed.guidance_width:
        inputs["timestep_cond"] = torch.randn(rows, shape.fixed.guidance_width, generator=generator)
    return inputs
