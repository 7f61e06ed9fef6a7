"""What distillation minimises: the consistency loss, and the drift of guided sampling."""

import copy
from contextlib import nullcontext
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from riffusion.datasets.examples import Example
from riffusion.diffusion.guidance_embedding import guidance_embedding
from riffusion.runtime.devices import copied_to
from riffusion.training.adapters.frozen_weights import keep_only_trained_weights
from riffusion.training.adapters.lora import without_lora
from riffusion.training.config import DistillationConfig
from riffusion.training.losses.consistency import ConsistencyPath, distance
from riffusion.training.losses.diffusion import stratified
from riffusion.training.recipes.recipe import Losses, Objective


class _Points(NamedTuple):
    """Points that the student predicts from: first those for distillation, then the guided ones.

    Args:
        noisy, timesteps, states: inputs of the UNet, of all rows.
        guidance: guidance scales of the rows for distillation, the first of all rows.
    """

    noisy: torch.Tensor
    timesteps: torch.Tensor
    states: torch.Tensor
    guidance: torch.Tensor


class DistillationObjective(Objective):
    """The consistency loss of a student, and how far its guided sampling is from the teacher's.

    Args:
        teacher: the frozen UNet; None if it is the student without its LoRA.
        student: the UNet in training.
        path: the path that the teacher walks.
        config: the run's configuration.

    Attributes:
        embeddings: embedded captions, (captions, tokens, width); the first is the empty one. The
            recipe sets them before training.
    """

    embeddings: torch.Tensor

    def __init__(
        self,
        teacher: nn.Module | None,
        student: Any,
        path: ConsistencyPath,
        config: DistillationConfig,
    ) -> None:
        super().__init__()
        self.teacher, self.student, self.path, self.config = teacher, student, path, config
        self.target: nn.Module | None = None
        if config.decay > 0:
            self.target = copy.deepcopy(student).requires_grad_(False).eval()
        self.register_buffer("embeddings", torch.zeros(0, 1, 1), persistent=False)
        self.huber_c = config.huber_c if config.loss == "huber" else None
        # A state holds what is trained, and the target.
        for network in (student,) if teacher is None else (teacher,):
            keep_only_trained_weights(network)

    def train(self, mode: bool = True) -> Self:
        """Switch the student between training and evaluation; the others only evaluate."""
        super().train(mode)
        for network in (self.teacher, self.target):
            if network is not None:
                network.eval()
        return self

    def after_step(self) -> None:
        """Move the target towards the student."""
        if self.target is not None:
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.target.parameters()),
                    list(self.student.parameters()),
                    1 - self.config.decay,
                )

    def forward(self, batch: Example, generator: torch.Generator) -> Losses:
        points = self._draw(batch, generator)
        num = len(points.guidance)  # rows for distillation
        told = self.conditions(points.guidance, len(points.noisy))
        # The student comes first. Autocast keeps half-precision copies of trained weights until the
        # step ends, and copies made without gradients would cut the student's off.
        predicted = predict(self.student, points.noisy, points.timesteps, points.states, told)
        nearer, imitated = self._teach(points)
        starts, noisy = points.timesteps[:num], points.noisy[:num]
        jumped = self.path.end_of_path(predicted[:num], noisy, starts)
        with torch.no_grad():
            ends = self.path.ends(starts)
            target = self.student if self.target is None else self.target
            told_ends = None if told is None else told[:num]
            found = predict(target, nearer, ends, points.states[:num], told_ends)
            wanted = self.path.end_of_path(found, nearer, ends)
        errors = distance(jumped, wanted, self.huber_c)
        losses = {"loss": errors.mean(), "consistency": errors.detach().mean()}
        if num < len(points.noisy):
            drift = distance(predicted[num:], imitated, self.huber_c)
            losses["loss"] = torch.cat([errors, drift]).mean()
            losses["guided"] = drift.detach().mean()
        return losses

    def _draw(self, batch: Example, generator: torch.Generator) -> _Points:
        """Timesteps, noise and guidance scales; rows for distillation start a solver's step."""
        clean, config, path = batch["latents"], self.config, self.path
        device, rows = clean.device, len(clean)
        num_guided = config.num_guided(rows)
        num = rows - num_guided
        steps = len(path.signal)
        jumps, plain = stratified(num, generator), stratified(num_guided, generator)
        timesteps = (torch.cat([jumps, plain]) * steps).long().clamp(0, steps - 1)
        timesteps[:num] = path.starts(timesteps[:num])
        low, high = config.guidance
        guidance = low + (high - low) * torch.rand(
            num, generator=generator, device=generator.device
        )
        noise = torch.randn(clean.shape, generator=generator, device=generator.device)
        timesteps = copied_to(device, timesteps)
        noisy = path.add_noise(clean, copied_to(device, noise), timesteps)
        states = self.embeddings[batch["caption"]]
        return _Points(noisy, timesteps, states, copied_to(device, guidance))

    def conditions(self, guidance: torch.Tensor, rows: int) -> torch.Tensor | None:
        """What the student is told: (rows, width); zeros after the rows that `guidance` has."""
        width = self.student.config.time_cond_proj_dim
        if width is None:
            return None
        told = guidance_embedding(guidance, width)
        return nn.functional.pad(told, (0, 0, 0, rows - len(guidance)))

    @torch.no_grad()
    def _teach(self, points: _Points) -> tuple[torch.Tensor, torch.Tensor]:
        """The teacher's part, in one call.

        Returns:
            One step of guided sampling from the points for distillation, and the predictions for
            the other rows.
        """
        num = len(points.guidance)
        noisy, timesteps, states = points.noisy, points.timesteps, points.states
        empty = self.embeddings[:1].expand(num, -1, -1)
        network = self.student if self.teacher is None else self.teacher
        with without_lora(network) if self.teacher is None else nullcontext():
            predicted = predict(
                network,
                torch.cat([noisy[:num], noisy]),
                torch.cat([timesteps[:num], timesteps]),
                torch.cat([empty, states]),
                None,
            )
        unconditional, conditional = predicted[:num], predicted[num : 2 * num]
        scale = points.guidance.view(-1, 1, 1, 1)
        guided = unconditional + scale * (conditional - unconditional)
        return self.path.solver_step(guided, noisy[:num], timesteps[:num]), predicted[2 * num :]


def predict(
    network: Any,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    states: torch.Tensor,
    told: torch.Tensor | None,
) -> torch.Tensor:
    """A UNet's prediction, in single precision.

    Args:
        network: the UNet.
        noisy: noisy latents, (batch, channels, height, width).
        timesteps: (batch,).
        states: embedded captions, (batch, tokens, width).
        told: embedded guidance, (batch, `time_cond_proj_dim`); None for the ordinary network.
    """
    prediction: torch.Tensor = network(
        noisy, timesteps, encoder_hidden_states=states, timestep_cond=told, return_dict=False
    )[0]
    return prediction.float()
