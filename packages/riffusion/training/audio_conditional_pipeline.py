"""Former name of `networks.audio_conditional_pipeline`, which earlier model cards import."""

from riffusion.training.networks.audio_conditional_pipeline import AudioConditionalPipeline

__all__ = ["AudioConditionalPipeline"]
