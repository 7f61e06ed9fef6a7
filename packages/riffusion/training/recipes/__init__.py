"""Recipes: what can be trained, one module per task.

recipe               the interface between a recipe and the trainer
autoencoder          VAE
text_to_spectrogram  latent UNet and text encoder, from scratch
fine_tune            Stable Diffusion checkpoints: in full, LoRA, textual inversion
distillation         a checkpoint's UNet, or LoRA for it, that draws in a few steps
unconditional        UNet of pixels or latents without a condition
audio_conditional    UNet of pixels or latents, conditioned on encodings of audio
image_space          pixels or latents, for the last two
base_checkpoint      the checkpoint that fine-tuning and distillation start from
captions             captions tokenized once, and embedded once for a frozen text encoder
"""

from riffusion.datasets.shard_folder import open_dataset
from riffusion.training.config import (
    AudioConditionalConfig,
    AutoencoderConfig,
    DistillationConfig,
    FineTuneConfig,
    TrainingConfig,
    UnconditionalConfig,
)
from riffusion.training.recipes.recipe import Recipe

__all__ = ["Recipe", "recipe_for"]


def recipe_for(config: TrainingConfig) -> Recipe:
    """The recipe of a configuration's task, with its networks built.

    Raises:
        InputError: the data set or a checkpoint doesn't exist, or options don't fit.
        CheckpointError: a checkpoint is damaged or of another kind.
    """
    folder = open_dataset(config.data.dataset)
    if isinstance(config, AutoencoderConfig):
        from riffusion.training.recipes.autoencoder import AutoencoderRecipe

        return AutoencoderRecipe(folder, config)
    if isinstance(config, UnconditionalConfig):
        from riffusion.training.recipes.unconditional import UnconditionalRecipe

        return UnconditionalRecipe(folder, config)
    if isinstance(config, AudioConditionalConfig):
        from riffusion.training.recipes.audio_conditional import AudioConditionalRecipe

        return AudioConditionalRecipe(folder, config)
    if isinstance(config, FineTuneConfig):
        from riffusion.training.recipes.fine_tune import FineTuneRecipe

        return FineTuneRecipe(folder, config)
    if isinstance(config, DistillationConfig):
        from riffusion.training.recipes.distillation import DistillationRecipe

        return DistillationRecipe(folder, config)
    from riffusion.training.recipes.text_to_spectrogram import TextToSpectrogramRecipe

    return TextToSpectrogramRecipe(folder, config)
