"""A diffusion model of pixels or latents that is conditioned on encodings of audio.

The UNet attends to the encoding as Stable Diffusion's UNet attends to text.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from riffusion.checkpoint.files import MAX_SHARD_SIZE
from riffusion.checkpoint.networks import half_copy
from riffusion.datasets.examples import Example
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.errors import InputError
from riffusion.io.files import write_file
from riffusion.io.folders import replaced_folder
from riffusion.io.images import read_image
from riffusion.spectrogram.image import rgb_image
from riffusion.training.audio_encodings import (
    EncodedExamples,
    clap_fingerprint,
    encoding_shape,
    load_encodings,
)
from riffusion.training.config import AudioConditionalConfig
from riffusion.training.losses.diffusion import DiffusionLoss
from riffusion.training.networks.audio_conditional_pipeline import AudioConditionalPipeline
from riffusion.training.networks.audio_encoder import AudioEncoder
from riffusion.training.networks.build import check_fixed_options, new_network, start_from
from riffusion.training.recipes.image_space import ImageSpace
from riffusion.training.recipes.recipe import Losses, Objective, Recipe, Samples, num_parameters

ENCODINGS_NAME = "encodings.json"


class AudioConditionalObjective(Objective):
    """The diffusion loss of a UNet that attends to encodings.

    Args:
        unet: the network in training.
        audio_encoder: trained, too; None if the examples contain encodings.
        loss: the loss of the UNet's predictions.
        space: pixels or latents.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        audio_encoder: AudioEncoder | None,
        loss: DiffusionLoss,
        space: ImageSpace,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.audio_encoder = audio_encoder
        self.loss = loss
        self.space = space

    def forward(self, batch: Example, generator: torch.Generator) -> Losses:
        states = batch["encoding"]
        if self.audio_encoder is not None:
            states = self.audio_encoder(states)
        states = states * batch["kept"][:, None, None]

        def predict(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
            prediction: torch.Tensor = self.unet(
                noisy, timesteps, encoder_hidden_states=states, return_dict=False
            )[0]
            return prediction

        return {"loss": self.loss(self.space.clean(batch), generator, predict)}


class AudioConditionalRecipe(Recipe):
    """Trains a `UNet2DConditionModel`, and an `AudioEncoder` with `encoder.network`."""

    objective: AudioConditionalObjective

    def __init__(self, folder: DatasetFolder, config: AudioConditionalConfig) -> None:
        super().__init__(folder, config.data)
        self.config = config
        self.space = ImageSpace(folder, config)
        audio_encoder = None
        if config.encoder.network is not None:
            audio_encoder = new_network(AudioEncoder, config.encoder.network, "encoder.network")
            self.encoding_shape = (audio_encoder.config.tokens, audio_encoder.config.width)
        else:
            self.encoding_shape = encoding_shape(folder, config.encoder)
        options = {
            "sample_size": self.space.size,
            "in_channels": self.space.channels,
            "out_channels": self.space.channels,
            "cross_attention_dim": self.encoding_shape[1],
        }
        check_fixed_options(config.unet, options, "unet", "the images and encodings")
        unet = new_network(UNet2DConditionModel, options | config.unet, "unet")
        self.space.check_levels(len(unet.config.block_out_channels))
        if config.init_from is not None:
            start_from(unet, config.init_from, "unet")
            if audio_encoder is not None:
                start_from(audio_encoder, config.init_from, "audio_encoder")
        self.objective = AudioConditionalObjective(
            unet, audio_encoder, self.space.loss(config), self.space
        )

    def examples(self, split: Split, cache: Path) -> EncodedExamples:
        encodings = load_encodings(self.folder, split, self.config.encoder, cache)
        if self.config.encoder.network is None and encodings.shape[1:] != self.encoding_shape:
            raise InputError(
                f"{split} encodings have shape {tuple(encodings.shape[1:])}, those of train have "
                f"{self.encoding_shape} (tokens, width); make all of them with the same encoder"
            )
        examples = self.space.examples(split, cache)
        run, data = self.config.run, self.config.data
        return EncodedExamples(examples, encodings, data.caption_dropout, run.seed)

    def pipeline(self) -> AudioConditionalPipeline:
        """The networks as they are, ready to generate."""
        objective = self.objective
        vae = self.space.vae
        pipeline = AudioConditionalPipeline(
            unet=objective.unet,
            scheduler=DDIMScheduler.from_config(objective.loss.schedule.config),
            vae=None if vae is None else vae.to(objective.unet.device),
            audio_encoder=objective.audio_encoder,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def sample(self) -> Samples:
        """Held-out images above the images generated from their encodings."""
        config = self.config.sample
        split: Split = "validation" if self.folder.rows("validation") else "train"
        rows = self.folder.rows(split)
        count = min(config.images, len(rows))
        chosen = np.linspace(0, len(rows) - 1, count).round().astype(int)
        originals = []
        for number in chosen:
            originals.append(rgb_image(read_image(self.folder.image_path(split, rows[number]))))
        pipeline = self.pipeline()
        if pipeline.audio_encoder is not None:
            encodings = pipeline.encode(originals)
        else:
            cache = self.config.output / "cache"
            all_encodings = load_encodings(self.folder, split, self.config.encoder, cache)
            encodings = all_encodings[torch.from_numpy(chosen)]
        output = pipeline(encodings, num_inference_steps=config.steps, guidance=config.guidance)
        generated = [image.convert("RGB") for image in output.images]
        held_out = [image.resize(generated[0].size) for image in originals]
        captions = ["held out", "generated from the encoding"]
        return Samples(
            rows=[held_out, generated],
            captions=captions,
            played=list(zip(captions, (held_out[0], generated[0]), strict=True)),
        )

    def export(self, directory: Path) -> None:
        """Write a folder for `AudioConditionalPipeline`, with a description of the encodings."""
        pipeline = self.pipeline()
        parts = {name: half_copy(part) for name, part in pipeline.components.items()}
        with replaced_folder(directory) as folder:
            AudioConditionalPipeline(**parts).save_pretrained(folder, max_shard_size=MAX_SHARD_SIZE)
            self.params.save(folder)
            text = json.dumps(self._encodings(), indent=2) + "\n"
            write_file(text.encode(), folder / ENCODINGS_NAME)

    def _encodings(self) -> dict[str, Any]:
        """Shape and source of the encodings, for other programs."""
        encoder = self.config.encoder
        tokens, width = self.encoding_shape
        found: dict[str, Any] = {"tokens": tokens, "width": width}
        if encoder.network is not None:
            return found | {"from": "audio_encoder"}
        if encoder.clap is not None:
            sha256 = clap_fingerprint(encoder.clap)
            scale = "audio embedding of norm 1, times the square root of its width"
            return found | {
                "from": "clap",
                "model": encoder.clap.name,
                "sha256": sha256,
                "scale": scale,
            }
        if encoder.column is not None:
            return found | {"from": "column", "column": encoder.column}
        assert encoder.file is not None
        return found | {"from": "file", "file": encoder.file.name}

    def facts(self) -> dict[str, Any]:
        unet, encoder = self.objective.unet, self.objective.audio_encoder
        tokens, width = self.encoding_shape
        source = self._encodings()
        origin = ", ".join(
            f"{key} {source[key]}" for key in source if key not in ("tokens", "width")
        )
        facts = {
            "UNet": f"`UNet2DConditionModel`, blocks {tuple(unet.config.block_out_channels)}, "
            f"{self.config.objective.prediction}, {num_parameters(unet)}",
            "generates": self.space.description,
            "encodings": f"{tokens} x {width}, {origin}",
            "to load": "`AudioConditionalPipeline.from_pretrained(folder)` of "
            "`riffusion.training.networks.audio_conditional_pipeline`",
        }
        if encoder is not None:
            facts["audio encoder"] = f"`AudioEncoder`, {num_parameters(encoder)}, trained, too"
        if self.space.vae is not None:
            facts["VAE"] = f"{num_parameters(self.space.vae)}, not trained here"
        return facts
