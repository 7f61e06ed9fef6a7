"""The `data` section of a configuration: which data set is used, and how."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of a configuration. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _plain_address(value: object) -> object:
    """A path without superfluous slashes, so that a run is recognised; URLs as they are."""
    if isinstance(value, Path) or (isinstance(value, str) and value and "://" not in value):
        return str(Path(value))
    return value


class DataConfig(Section):
    """The data set, batches and augmentation.

    Args:
        dataset: the data-set folder, relative to the working directory; or a sharded data set: its
            folder or URL (http, https, and others that fsspec knows), or a pattern of its tar
            files.
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
        num_workers: processes that load examples, or threads for a sharded data set; 0 loads them
            in the training process while it waits.
        lanes: of a sharded data set: its shards are dealt to this number of lanes, which draws take
            in turn; a multiple of the number of processes, each of which reads its own lanes. None
            is 8, or fewer if there are fewer shards.
        shuffle_shards: of a sharded data set: shards of a lane whose rows are shuffled together.
        keep_in_memory: keep decoded images in memory (256 KB each at 512 × 512). On a GPU they are
            read once at the beginning and kept in its memory, where batches are cut.
    """

    dataset: Annotated[str, BeforeValidator(_plain_address)]
    batch_size: Count = 16
    accumulate: Count = 1
    crop_width: Count | None = None
    resolution: Count | None = None
    circular_shifts: Count = 1
    caption_dropout: Share = 0.1
    num_workers: Annotated[int, Field(ge=0)] = 0
    lanes: Count | None = None
    shuffle_shards: Count = 4
    keep_in_memory: bool = False
