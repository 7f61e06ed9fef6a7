"""Former name of `networks.audio_encoder`: `model_index.json` of earlier checkpoints names it.

diffusers looks up the class and its base class in this module.
"""

from diffusers import ModelMixin

from riffusion.training.networks.audio_encoder import AudioEncoder

__all__ = ["AudioEncoder", "ModelMixin"]
