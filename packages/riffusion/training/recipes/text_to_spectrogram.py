"""A latent UNet conditioned on text, and its text encoder, from scratch."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from riffusion.datasets.circular_shifts import encoded_examples
from riffusion.datasets.examples import Example
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.image_size import check_fits_vae
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from riffusion.training.config import SampleConfig, TextToSpectrogramConfig
from riffusion.training.export.checkpoint import write_checkpoint
from riffusion.training.losses.diffusion import SCHEDULE_OPTIONS, DiffusionLoss
from riffusion.training.networks.build import (
    check_fixed_options,
    check_keys,
    load_autoencoder,
    new_network,
    start_from,
)
from riffusion.training.networks.tokenizer import train_tokenizer
from riffusion.training.recipes.captions import CaptionedExamples
from riffusion.training.recipes.recipe import Losses, Objective, Recipe, Samples, num_parameters

_MAX_TOKENS = 32


class TextDiffusionObjective(Objective):
    """The diffusion loss of a UNet conditioned on captions.

    Args:
        unet, text_encoder: the networks in training.
        loss: the loss of the UNet's predictions.
    """

    def __init__(
        self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, loss: DiffusionLoss
    ) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder
        self.loss = loss

    def forward(self, batch: Example, generator: torch.Generator) -> Losses:
        states = self.text_encoder(batch["input_ids"])[0]

        def predict(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
            prediction: torch.Tensor = self.unet(
                noisy, timesteps, encoder_hidden_states=states, return_dict=False
            )[0]
            return prediction

        return {"loss": self.loss(batch["latents"], generator, predict)}


class TextToSpectrogramRecipe(Recipe):
    """Trains a UNet and a text encoder on the latents of a finished VAE."""

    objective: TextDiffusionObjective

    def __init__(self, folder: DatasetFolder, config: TextToSpectrogramConfig) -> None:
        super().__init__(folder, config.data)
        self.config = config
        self.vae = load_autoencoder(config.vae).requires_grad_(False).eval()
        check_fits_vae(folder, config.data, self.vae)
        self.tokenizer = _tokenizer(folder, config)
        text_encoder = _new_text_encoder(self.tokenizer, config.text_encoder)
        channels = self.vae.config.latent_channels
        unet_options = {
            "in_channels": channels,
            "out_channels": channels,
            "cross_attention_dim": text_encoder.config.hidden_size,
        }
        check_fixed_options(config.unet, unet_options, "unet", "the VAE and the text encoder")
        unet = new_network(UNet2DConditionModel, unet_options | config.unet, "unet")
        if config.init_from is not None:
            start_from(unet, config.init_from, "unet")
            start_from(text_encoder, config.init_from, "text_encoder")
        self.objective = TextDiffusionObjective(unet, text_encoder, DiffusionLoss(config.objective))

    def examples(self, split: Split, cache: Path) -> CaptionedExamples:
        seed, data = self.config.run.seed, self.config.data
        latents = encoded_examples(self.folder, split, self.vae, data, cache, seed)
        return CaptionedExamples(latents, self.tokenizer, data.caption_dropout, seed)

    def pipeline(self) -> RiffusionPipeline:
        """The networks as they are, ready to generate."""
        objective = self.objective
        trained = objective.loss.schedule.config
        schedule = {name: trained[name] for name in (*SCHEDULE_OPTIONS, "prediction_type")}
        return RiffusionPipeline(
            vae=self.vae.to(objective.unet.device),
            text_encoder=objective.text_encoder,
            tokenizer=self.tokenizer,
            unet=objective.unet,
            scheduler=DPMSolverMultistepScheduler(
                **schedule,
                timestep_spacing="trailing",  # starts at pure noise, as trained (Lin et al. 2023)
                use_karras_sigmas=True,
            ),
            spectrogram_params=self.params,
        )

    def sample(self) -> Samples:
        prompts = list(self.config.sample.prompts) or held_out_captions(self.folder)
        return sample_prompts(self.pipeline(), prompts, self.config.sample)

    def export(self, directory: Path) -> None:
        write_checkpoint(self.pipeline(), directory)

    def facts(self) -> dict[str, Any]:
        unet, text = self.objective.unet, self.objective.text_encoder
        return {
            "UNet": f"`UNet2DConditionModel`, blocks {tuple(unet.config.block_out_channels)}, "
            f"{self.config.objective.prediction}, {num_parameters(unet)}",
            "text encoder": f"`CLIPTextModel`, width {text.config.hidden_size}, "
            f"{text.config.num_hidden_layers} layers, own BPE of {len(self.tokenizer)} tokens, "
            f"{num_parameters(text)}",
            "VAE": f"{num_parameters(self.vae)}, not trained here",
        }


def sample_prompts(
    pipeline: RiffusionPipeline, prompts: list[str], config: SampleConfig
) -> Samples:
    """One row of images per prompt. Each row is one batch, as all rows at once need more memory."""
    rows = [_sample_row(pipeline, prompt, config) for prompt in prompts]
    played = [(prompt, row[0]) for prompt, row in zip(prompts, rows, strict=True)]
    return Samples(rows=rows, captions=prompts, played=played)


def _sample_row(
    pipeline: RiffusionPipeline, prompt: str, config: SampleConfig
) -> list[Image.Image]:
    jobs = [
        pipeline.prepare(
            InferenceInput.parse(
                {
                    "start": {"prompt": prompt, "seed": seed, "guidance": config.guidance},
                    "num_inference_steps": config.steps,
                    "mode": "txt2img",
                }
            ),
            weighted_prompts=False,
        )
        for seed in range(config.seeds)
    ]
    while not all(job.is_done for job in jobs):
        pipeline.step(jobs)
    return pipeline.decode(jobs)


def _tokenizer(folder: DatasetFolder, config: TextToSpectrogramConfig) -> CLIPTokenizer:
    """The tokenizer of `init_from`, or one trained on the captions."""
    if config.init_from is not None:
        directory = config.init_from / "tokenizer"
        if not directory.is_dir():
            raise InputError(
                f"init_from={str(config.init_from)!r} has no tokenizer; name a whole checkpoint of "
                "text_to_spectrogram, or leave it out"
            )
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(directory)
        return tokenizer
    captions = [caption for row in folder.rows("train") for caption in row.all_captions]
    max_tokens = config.text_encoder.get("max_position_embeddings", _MAX_TOKENS)
    return train_tokenizer(captions, config.vocabulary_size, max_tokens)


def _new_text_encoder(tokenizer: CLIPTokenizer, options: dict[str, Any]) -> CLIPTextModel:
    """A text encoder with random weights."""
    fixed = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    known = [*CLIPTextConfig().to_dict()]
    check_keys(options, known, "text_encoder", "CLIPTextModel")
    check_fixed_options(options, fixed, "text_encoder", "the tokenizer")
    try:
        return CLIPTextModel(CLIPTextConfig(**(options | fixed)))
    except (ValueError, TypeError, RuntimeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"text_encoder: CLIPTextModel refuses this: {reason}") from error


def held_out_captions(folder: DatasetFolder) -> list[str]:
    """One caption per label of the validation split, for at most eight labels."""
    rows = folder.rows("validation") or folder.rows("train")
    captions = {row.label or row.text: row.text for row in rows}
    return list(captions.values())[:8]
