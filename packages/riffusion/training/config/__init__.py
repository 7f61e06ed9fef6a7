"""The training configuration: one YAML file per run.

loader        reads a file, applies overrides, explains errors
tasks         one class per task: all keys of its file
distillation  the class of the task `distill`
sections      sections that several tasks share
"""

from riffusion.training.config.distillation import DistillationConfig, DistillationSampleConfig
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
    "DistillationConfig",
    "DistillationSampleConfig",
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
