"""Options of small autoencoders without a posterior."""

from typing import Any

DC_OPTIONS: dict[str, Any] = {
    "class_name": "AutoencoderDC",
    "latent_channels": 4,
    "encoder_block_out_channels": [8, 16],
    "decoder_block_out_channels": [8, 16],
    "encoder_layers_per_block": [0, 1],
    "decoder_layers_per_block": [0, 1],
    "encoder_qkv_multiscales": [[], []],
    "decoder_qkv_multiscales": [[], []],
}
TINY_OPTIONS: dict[str, Any] = {
    "class_name": "AutoencoderTiny",
    "latent_channels": 4,
    "encoder_block_out_channels": [8, 8],
    "decoder_block_out_channels": [8, 8],
    "num_encoder_blocks": [1, 1],
    "num_decoder_blocks": [1, 1],
}
