"""What is read of a data set, as configurations and commands say it."""

from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of a configuration, which refuses keys that it doesn't know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """What is learned from, and in which portions.

    Args:
        dataset: the data-set folder; relative to the working directory.
        batch_size: examples of one process in one forward pass.
        accumulate: forward passes of one step; the step sees batch_size · accumulate · processes
            examples.
        crop_width: train on windows of this many columns at full height; None is the whole image.
        resolution: images are resized to this height and width first, None leaves them.
        circular_shifts: the images are loops, and each draw starts at one of this many evenly
            spaced frames. `rolls` is accepted as the old name.
        caption_dropout: share of examples that are shown without what they are conditioned on,
            their caption or their encoding, for guidance.
        num_workers: processes that read images; 0 reads in the training process.
        keep_in_memory: keep decoded images (256 KB each at 512 × 512).
    """

    dataset: Path
    batch_size: Count = 16
    accumulate: Count = 1
    crop_width: Count | None = None
    resolution: Count | None = None
    circular_shifts: Annotated[
        Count, Field(validation_alias=AliasChoices("circular_shifts", "rolls"))
    ] = 1
    caption_dropout: Share = 0.1
    num_workers: Annotated[int, Field(ge=0)] = 0
    keep_in_memory: bool = False
