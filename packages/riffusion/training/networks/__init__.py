"""Networks of the recipes.

build                       builds networks from options, and loads weights of checkpoints
distilled_unet              adds the guidance scale to a UNet's inputs
tokenizer                   trains a CLIP tokenizer on captions
audio_encoder               small convolutional encoder that learns encodings of audio
audio_conditional_pipeline  diffusers pipeline: encodings of audio → images
latent_scaling              folds a scale and shift per latent channel into a VAE
"""
