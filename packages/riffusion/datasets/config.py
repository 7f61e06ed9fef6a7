"""The `data` section of a configuration: which data set is used, and how."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of a configuration. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """The data set, batches and augmentation.

    Args:
        dataset: the data-set folder; relative to the working directory.
        batch_size: examples per process and forward pass.
        accumulate: forward passes per step; a step sees batch_size · accumulate · processes
            examples.
        crop_width: train on random windows of this many frames at full height; None uses the whole
            image.
        resolution: resize images to this height and width first; None keeps their size.
        circular_shifts: the images are loops, and each draw starts at one of this many evenly
            spaced frames. Its former name is `rolls`.
        caption_dropout: share of examples without their condition (caption or encoding), for
            classifier-free guidance.
        num_workers: processes that load examples; 0 loads them in the training process.
        keep_in_memory: keep decoded images in memory (256 KB each at 512 × 512). On a GPU they are
            read once at the beginning and kept in its memory, where batches are cut.
    """

    dataset: Path
    batch_size: Count = 16
    accumulate: Count = 1
    crop_width: Count | None = None
    resolution: Count | None = None
    circular_shifts: Count = 1
    caption_dropout: Share = 0.1
    num_workers: Annotated[int, Field(ge=0)] = 0
    keep_in_memory: bool = False
