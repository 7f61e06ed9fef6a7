"""The training configuration: what a YAML file may say, by sections and tasks."""

from riffusion.training.config.loader import TrainingConfig, load_config
from riffusion.training.config.sections import (
    DataConfig,
    EncodedSampleConfig,
    NetworkOptions,
    ObjectiveConfig,
    OptimizerConfig,
    ReplayConfig,
    RunConfig,
    SampleConfig,
    TimestepConfig,
    UnconditionalSampleConfig,
)
from riffusion.training.config.tasks import (
    AudioConditionalConfig,
    AutoencoderConfig,
    AutoencoderLossConfig,
    EncoderConfig,
    FineTuneConfig,
    LoraConfig,
    TextToSpectrogramConfig,
    UnconditionalConfig,
)

__all__ = [
    "AudioConditionalConfig",
    "AutoencoderConfig",
    "AutoencoderLossConfig",
    "DataConfig",
    "EncodedSampleConfig",
    "EncoderConfig",
    "FineTuneConfig",
    "LoraConfig",
    "NetworkOptions",
    "ObjectiveConfig",
    "OptimizerConfig",
    "ReplayConfig",
    "RunConfig",
    "SampleConfig",
    "TextToSpectrogramConfig",
    "TimestepConfig",
    "TrainingConfig",
    "UnconditionalConfig",
    "UnconditionalSampleConfig",
    "load_config",
]
