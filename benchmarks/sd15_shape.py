"""A checkpoint with the shape of Stable Diffusion 1.5 and random weights."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TOKENIZER = Path(__file__).parents[1] / "data" / "demo-checkpoint" / "tokenizer"
"""Any tokenizer: prompts of all tokenizers take the same time."""
_MAX_TOKENS = 77

UNET_TFLOP, DECODER_TFLOP, ENCODER_TFLOP = 0.803, 2.515, 1.117
"""Arithmetic per row of 4 x 64 x 64 latents, or per 512 x 512 image, by torch's flop counter."""


def write_checkpoint(folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint as a diffusers folder, 2 GB in half precision.

    The architecture is public: 860 M parameters in the UNet, 84 M in the VAE, 123 M in the text
    encoder.
    """
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER, model_max_length=_MAX_TOKENS)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=_MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    StableDiffusionPipeline(
        vae=vae.to(dtype),
        text_encoder=text_encoder.to(dtype),
        tokenizer=tokenizer,
        unet=unet.to(dtype),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
