"""A tiny CLAP model."""

from pathlib import Path

import torch
from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel


def write_tiny_clap(folder: Path) -> None:
    """Write a tiny CLAP model with random weights, without a tokenizer."""
    audio = ClapAudioConfig(
        spec_size=64,
        num_mel_bins=16,
        patch_embeds_hidden_size=8,
        depths=[1, 1],
        num_attention_heads=[1, 2],
        hidden_size=16,
        window_size=4,
        projection_dim=16,
    )
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ClapConfig(
        audio_config=audio.to_dict(),
        text_config=text | {"intermediate_size": 16, "vocab_size": 30, "projection_dim": 16},
        projection_dim=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ClapModel(config).save_pretrained(folder)
    extractor = ClapFeatureExtractor(feature_size=16, max_length_s=2, truncation="rand_trunc")
    extractor.save_pretrained(folder)
