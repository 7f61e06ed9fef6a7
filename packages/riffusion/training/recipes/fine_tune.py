"""Fine-tuning of a Stable Diffusion 1.x checkpoint: in full, by LoRA, or by textual inversion.

Frozen weights stay the same bit for bit; they are held in half precision if the run uses mixed
precision. The result is a whole checkpoint. LoRA and textual inversion are also written as a small
adapter, which stock diffusers adds to the base checkpoint.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPTextModel

from riffusion.checkpoint.distillation import Distillation
from riffusion.checkpoint.embeddings import extend_embedding
from riffusion.checkpoint.loader import Components
from riffusion.datasets.circular_shifts import encoded_examples
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.image_size import check_fits_vae
from riffusion.datasets.shard_folder import ShardedFolder
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from riffusion.training.adapters.frozen_weights import keep_only_trained_weights
from riffusion.training.adapters.lora import adapter_weights, add_lora, merged_weights
from riffusion.training.adapters.textual_inversion import (
    add_words,
    initial_rows,
    train_last_rows_only,
)
from riffusion.training.config import DataConfig, FineTuneConfig, ObjectiveConfig
from riffusion.training.export.adapter import write_adapter
from riffusion.training.export.checkpoint import write_checkpoint
from riffusion.training.losses.diffusion import SCHEDULE_OPTIONS, DiffusionLoss
from riffusion.training.recipes.base_checkpoint import (
    HALF,
    check_params,
    load_base,
    name_of,
    prediction_of,
)
from riffusion.training.recipes.captions import CaptionedExamples
from riffusion.training.recipes.recipe import Recipe, Samples, num_parameters
from riffusion.training.recipes.text_to_spectrogram import (
    TextDiffusionObjective,
    held_out_captions,
    sample_prompts,
)
from riffusion.training.replay import ReplayedExamples


class FineTuneRecipe(Recipe):
    """Trains UNet and text encoder of a checkpoint, LoRA for them, or embeddings of new words."""

    objective: TextDiffusionObjective

    def __init__(self, folder: DatasetFolder, config: FineTuneConfig) -> None:
        super().__init__(folder, config.data)
        self.config = config
        self.half = HALF[config.run.mixed_precision]
        base = load_base(self.config.checkpoint)
        check_params(base, folder, config.data, "data.dataset")
        self.replay: DatasetFolder | None = None
        if config.data.replay is not None:
            if isinstance(folder, ShardedFolder) and folder.latents_header("train") is not None:
                raise InputError(
                    "data.replay cannot be combined with a sharded data.dataset of latents; name a "
                    "data-set folder, or leave data.replay out"
                )
            self.replay = DatasetFolder(config.data.replay.dataset)
            check_params(base, self.replay, config.data, "data.replay.dataset")
        self.vae = base.vae.requires_grad_(False)
        self._check_sizes()
        self.tokenizer, self.scheduler = base.tokenizer, base.scheduler
        self.base_name = name_of(base)
        self.distillation = self._guided(base)
        self.first_new_id = len(base.tokenizer)
        unet, text_encoder = base.unet, base.text_encoder
        if config.new_words:
            ids = add_words(base.tokenizer, config.initial_phrases)
            extend_embedding(text_encoder, self.first_new_id, initial_rows(text_encoder, ids))
        self._prepare("unet", unet, config.train_unet)
        self._prepare("text_encoder", text_encoder, config.train_text_encoder)
        if config.new_words and not self._trains_whole_text_encoder:
            train_last_rows_only(text_encoder, len(config.new_words))
        self.objective = TextDiffusionObjective(unet, text_encoder, self._loss(base))
        keep_only_trained_weights(self.objective)

    def _guided(self, base: Components) -> Distillation | None:
        """What a distilled checkpoint can do; None for others.

        Raises:
            InputError: it has no guided sampling.
        """
        found = base.distillation
        if found is not None and not found.guided_sampling:
            raise InputError(
                f"checkpoint={self.config.checkpoint!r} is a distilled network without guided "
                "sampling, which is what fine-tuning trains; name the checkpoint that it was "
                "distilled from"
            )
        return found

    def _check_sizes(self) -> None:
        for folder in (self.folder, self.replay):
            if folder is not None:
                check_fits_vae(folder, self.config.data, self.vae)

    @property
    def _trains_whole_text_encoder(self) -> bool:
        return self.config.train_text_encoder and self.config.lora is None

    def _prepare(self, part: str, network: nn.Module, is_trained: bool) -> None:
        """Freeze a network in the run's precision and add LoRA, unless it is trained in full."""
        lora = self.config.lora
        if is_trained and lora is None:
            network.train()
            return
        network.requires_grad_(False)
        if self.half is not None:
            nn.Module.to(network, self.half)  # diffusers' own `to` gives an irrelevant warning
        if is_trained and lora is not None:
            add_lora(network, part, lora)

    def _loss(self, base: Components) -> DiffusionLoss:
        """The loss with the checkpoint's noise schedule and prediction type.

        Raises:
            InputError: the prediction type is neither epsilon nor v_prediction.
        """
        prediction = prediction_of(base, self.config.checkpoint)
        schedule = self.scheduler.config
        options = {name: schedule[name] for name in SCHEDULE_OPTIONS if name in schedule}
        timesteps = self.config.objective.model_dump()
        return DiffusionLoss(
            ObjectiveConfig(prediction=prediction, noise_schedule=options, **timesteps)
        )

    def examples(self, split: Split, cache: Path) -> CaptionedExamples | ReplayedExamples:
        """Examples of a split; for training, with old examples mixed in if `replay` is set."""
        new = self._captioned(self.folder, split, self.config.data, cache)
        replay = self.config.data.replay
        if replay is None or self.replay is None or split == "validation":
            return new
        data = self.config.data.model_copy(update={"dataset": str(replay.dataset)})
        old = self._captioned(self.replay, "train", data, cache)
        return ReplayedExamples(new, old, replay.share, self.config.run.seed)

    def _captioned(
        self, folder: DatasetFolder, split: Split, data: DataConfig, cache: Path
    ) -> CaptionedExamples:
        seed = self.config.run.seed
        latents = encoded_examples(folder, split, self.vae, data, cache, seed)
        self.vae.to("cpu")  # until samples are generated: the UNet needs the GPU memory
        return CaptionedExamples(latents, self.tokenizer, data.caption_dropout, seed)

    def sample(self) -> Samples:
        prompts = list(self.config.sample.prompts) or held_out_captions(self.folder)
        unet = self.objective.unet
        pipeline = self._pipeline(unet, self.objective.text_encoder, self.vae.to(unet.device))
        mixed = nullcontext() if self.half is None else torch.autocast(unet.device.type, self.half)
        with mixed:
            samples = sample_prompts(pipeline, prompts, self.config.sample)
        self.vae.to("cpu")
        return samples

    def _pipeline(
        self, unet: nn.Module, text_encoder: CLIPTextModel, vae: nn.Module
    ) -> RiffusionPipeline:
        return RiffusionPipeline(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=self.tokenizer,
            unet=unet,
            scheduler=self.scheduler,
            spectrogram_params=self.params,
            distillation=self.distillation,
        )

    def export(self, directory: Path) -> None:
        """Write the whole checkpoint, and `adapter/` beside it for LoRA and textual inversion."""
        objective = self.objective
        if self._trains_whole_text_encoder and self.config.train_unet:
            unet, text_encoder = objective.unet, objective.text_encoder
        else:
            # Frozen weights may be in memory in half precision only.
            base = load_base(self.config.checkpoint)
            unet, text_encoder = base.unet, base.text_encoder
            if self.config.new_words:
                extend_embedding(text_encoder, self.first_new_id, self._new_rows())
            if self.config.train_unet:
                self._merge_trained(objective.unet, unet)
            if self.config.train_text_encoder:
                self._merge_trained(objective.text_encoder, text_encoder)
        pipeline = self._pipeline(unet, text_encoder, self.vae)
        write_checkpoint(pipeline, directory, self.distillation)
        self._export_adapter(directory.with_name("adapter"))

    def _merge_trained(self, trained: nn.Module, base: nn.Module) -> None:
        """Copy trained weights into a base network, or merge their LoRA into it."""
        if self.config.lora is None:
            weights = {name: weight.cpu() for name, weight in trained.state_dict().items()}
        else:
            weights = merged_weights(base.state_dict(), trained)
        base.load_state_dict(weights)

    def _new_rows(self) -> torch.Tensor:
        """Embeddings of the new words, (words, width)."""
        weight: torch.Tensor = self.objective.text_encoder.get_input_embeddings().weight
        return weight.detach()[self.first_new_id :].float().cpu()

    def _export_adapter(self, directory: Path) -> None:
        config, objective = self.config, self.objective
        lora: dict[str, torch.Tensor] = {}
        if config.lora is not None and config.train_unet:
            lora |= adapter_weights(objective.unet, "unet")
        if config.lora is not None and config.train_text_encoder:
            lora |= adapter_weights(objective.text_encoder, "text_encoder")
        is_full = config.lora is None and (config.train_unet or config.train_text_encoder)
        if not is_full:
            words = dict(zip(config.initial_phrases, self._new_rows(), strict=True))
            write_adapter(directory, lora, words, self.base_name)

    def facts(self) -> dict[str, Any]:
        config, objective = self.config, self.objective
        trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
        parts = [name for name in ("unet", "text_encoder") if getattr(config, f"train_{name}")]
        what = f"{' and '.join(parts)} in full" if parts else "textual inversion"
        if config.lora is not None:
            alpha = config.lora.alpha or config.lora.rank
            what = f"{' and '.join(parts)} by LoRA of rank {config.lora.rank}, alpha {alpha:g}"
        facts = {
            "base": self.base_name,
            "trained": f"{what}, {trained / 1e6:.2f} M of {num_parameters(objective)}",
            "predicts": objective.loss.config.prediction,
        }
        if config.new_words:
            facts["new words"] = ", ".join(config.initial_phrases)
        if config.data.replay is not None and self.replay is not None:
            facts["replay"] = (
                f"{config.data.replay.share:.0%} of the examples, from "
                f"{len(self.replay.rows('train'))} images in `{self.replay.directory.name}`"
            )
        return facts
