"""Images of a data set as VAE latents: encoded once and cached, or read from packed latents."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.utils.data import Dataset

from riffusion.checkpoint.autoencoders import ENCODER_WEIGHTS, Autoencoder, mean_latents
from riffusion.datasets.config import DataConfig
from riffusion.datasets.examples import Example, ImageExamples, Key, pixels_from_bytes
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.latent_files import check_latents, has_latents, load_latents
from riffusion.datasets.sampler import collated
from riffusion.datasets.shard_folder import ShardedFolder
from riffusion.datasets.tensor_files import write_tensors

logger = logging.getLogger(__name__)

_IMAGES_PER_BATCH = (8, 64)
"""On a CPU, and on a GPU."""

Progress = Callable[[int, int], None]
"""Called with (images encoded, images in all)."""


class LatentExamples(Dataset[Example]):
    """Scaled latents of a split, held in memory in half precision; those of shards are streamed.

    Args:
        folder: the data set, of images or of packed latents (`latent_files`).
        split: the split to read.
        vae: the encoder. Latents are the mean of the posterior times the VAE's scaling factor.
        config: see `DataConfig`.
        cache: folder of the encoded latents; file names contain a hash of everything that they
            depend on.
        progress: called while images are encoded.

    Attributes:
        latents: (rows, channels, height, width); None if they are streamed.
        streamed_from: the shards that they are streamed from, or None.
        width: their width.

    Raises:
        InputError: the split is empty, the cache can't be written, or packed latents are damaged or
            from another encoder.
        MediaError: an image is missing or damaged.
    """

    def __init__(
        self,
        folder: DatasetFolder,
        split: Split,
        vae: Autoencoder,
        config: DataConfig,
        cache: Path,
        progress: Progress = lambda done, total: None,
    ) -> None:
        self.split = split
        self.latents: torch.Tensor | None = None
        self.streamed_from: ShardedFolder | None = None
        if isinstance(folder, ShardedFolder) and (header := folder.latents_header(split)):
            check_latents(header, f"data.dataset={folder.address!r}", vae, config)
            self.rows, self.width = folder.rows(split), header.shape[-1]
            self.streamed_from = folder
            return
        if has_latents(folder):
            self.rows = folder.rows(split)
            self.latents = load_latents(folder, split, vae, config)
            self.width = self.latents.shape[-1]
            return
        images = ImageExamples(folder, split, config, seed=0)
        self.rows = images.rows
        path = cache / f"latents-{split}-{_fingerprint(images, vae)}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors({"latents": _encode(images, vae, progress)}, path, "cache")
        self.latents = load_file(path)["latents"]
        self.width = self.latents.shape[-1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Example:
        if self.streamed_from is not None:
            return {"latents": self.streamed_from.latents(self.split, key[0])}
        assert self.latents is not None
        return {"latents": self.latents[key[0]].float()}


@torch.inference_mode()
def _encode(images: ImageExamples, vae: Autoencoder, progress: Progress) -> torch.Tensor:
    """Scaled latents of all images, (rows, channels, height, width) float16."""
    latents: list[torch.Tensor] = []
    pending: list[Example] = []
    num_at_once = _IMAGES_PER_BATCH[vae.device.type == "cuda"]
    # bfloat16 halves the memory traffic on processors that support it. Its rounding error is far
    # below the reconstruction error of a small VAE.
    with torch.autocast(vae.device.type, torch.bfloat16):
        for number, image in enumerate(images.all_pixels(), start=1):
            pending.append({"pixels": torch.from_numpy(image.copy())})
            if len(pending) < num_at_once and number < len(images):
                continue
            batch = collated(pending)["pixels"].to(vae.device)
            pending = []
            mean = mean_latents(vae, pixels_from_bytes(batch))
            latents.append((mean.float() * vae.config.scaling_factor).half().cpu())
            progress(number, len(images))
            if len(latents) % 100 == 1:
                logger.info("encoded %d of %d images", number, len(images))
    return torch.cat(latents).contiguous()


def _fingerprint(images: ImageExamples, vae: Autoencoder) -> str:
    """Hash of everything that latents depend on: image files, their order and size, the encoder."""
    settings = [images.config.resolution, float(vae.config.scaling_factor)]
    first, *others = images.folder.digests(images.split)
    digest = hashlib.sha256(first)
    for each in (json.dumps(settings).encode(), *others):
        digest.update(each)
    for name, tensor in sorted(vae.state_dict().items()):
        if name.startswith(ENCODER_WEIGHTS):
            digest.update(np.ascontiguousarray(tensor.float().cpu().numpy()).tobytes())
    return digest.hexdigest()[:16]
