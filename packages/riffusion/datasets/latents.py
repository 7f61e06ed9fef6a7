"""Images of a data set as latents, encoded once and kept on disk, or brought along."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset

from riffusion.datasets.config import DataConfig
from riffusion.datasets.examples import Example, ImageExamples, Key, pixels_from_bytes
from riffusion.datasets.folder import METADATA_NAME, DatasetFolder, Split
from riffusion.datasets.packed_latents import has_latents, latents_of
from riffusion.errors import InputError

logger = logging.getLogger(__name__)

_IMAGES_PER_BATCH = 8

Progress = Callable[[int, int], None]
"""Called with (images encoded, images in all)."""


class LatentExamples(Dataset[Example]):
    """Scaled latents of a split, in memory in half precision.

    Args:
        folder: the data set; with latents in its images' place (`packed_latents`), those.
        split: of it.
        vae: the encoder. The posterior's mean is kept; its scaling factor is applied.
        config: of the data.
        cache: folder for the encoded latents; they are found again by what they were made from.
        progress: called while images are encoded.

    Raises:
        InputError: the split is empty, the cache can't be written, or the data set's latents are of
            another encoder or damaged.
        MediaError: an image is missing or damaged.
    """

    def __init__(
        self,
        folder: DatasetFolder,
        split: Split,
        vae: AutoencoderKL,
        config: DataConfig,
        cache: Path,
        progress: Progress = lambda done, total: None,
    ) -> None:
        if has_latents(folder):
            self.rows = folder.rows(split)
            self.latents = latents_of(folder, split, vae, config)
            return
        images = ImageExamples(folder, split, config, seed=0)
        self.rows = images.rows
        path = cache / f"latents-{split}-{_fingerprint(folder, split, vae, config)}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            try:
                save_file({"latents": _encode(images, vae, progress)}, temporary)
                temporary.replace(path)
            except (OSError, SafetensorError) as error:  # a full disk is the latter's
                temporary.unlink(missing_ok=True)
                raise InputError(
                    f"cache={str(path)!r} cannot be written ({error}); make room there"
                ) from error
        self.latents = load_file(path)["latents"]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Example:
        return {"latents": self.latents[key[0]].float()}


@torch.inference_mode()
def _encode(images: ImageExamples, vae: AutoencoderKL, progress: Progress) -> torch.Tensor:
    """(rows, channels, height, width) float16."""
    latents = []
    # Half the memory traffic where the processor has the instructions; a small VAE errs by far
    # more.
    with torch.autocast(vae.device.type, torch.bfloat16):
        for first in range(0, len(images), _IMAGES_PER_BATCH):
            rows = range(first, min(first + _IMAGES_PER_BATCH, len(images)))
            batch = [pixels_from_bytes(torch.from_numpy(images.pixels(i).copy())) for i in rows]
            mean = vae.encode(torch.stack(batch).to(vae.device)).latent_dist.mean
            latents.append((mean.float() * vae.config.scaling_factor).half().cpu())
            progress(rows.stop, len(images))
            if first % (100 * _IMAGES_PER_BATCH) == 0:
                logger.info("encoded %d of %d images", rows.stop, len(images))
    return torch.cat(latents).contiguous()


def _fingerprint(
    folder: DatasetFolder, split: Split, vae: AutoencoderKL, config: DataConfig
) -> str:
    """What the latents follow from: rows, size, and the encoder's weights."""
    digest = hashlib.sha256((folder.directory / split / METADATA_NAME).read_bytes())
    digest.update(json.dumps([str(folder.directory.resolve()), config.resolution]).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(np.ascontiguousarray(tensor.float().cpu().numpy()).tobytes())
    return digest.hexdigest()[:16]
