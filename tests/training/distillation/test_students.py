"""The student jumps where the guided teacher walks, and can still be guided."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler

from riffusion.checkpoint.distillation import Distillation, read_distillation
from riffusion.diffusion import RiffusionPipeline
from riffusion.training.networks.build import load_network
from riffusion.training.recipes.distillation import DistillationRecipe
from riffusion.training.recipes.distillation_objective import predict
from tests.training.distillation.runs import SOLVER_STEPS, config_of, noise
from tests.training.distillation.students import drift, error_of_jump, jump, new_distillation
from tests.training.recipe_runs import batch_of, loss_of, train

ROUNDING = 1e-4
"""Absolute; predictions are of the order of 1, in single precision."""
DRIFT = 0.25
"""Deviation of the student's guided predictions from the teacher's, relative to theirs, after a
short run with a high learning rate. Without `guided_share` it is half as large again, and grows."""


def test_both_losses_are_those_of_the_formulas(
    teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    """A step of the guided teacher, as diffusers' DDIM computes it, and the target beyond it."""
    config = config_of(teacher, dataset, tmp_path / "run", loss="l2", guidance=[4, 4])
    recipe = new_distillation(config, tmp_path)
    objective, path = recipe.objective, recipe.objective.path
    with torch.no_grad():  # so that told guidance, student and target all count
        for weight in (*objective.student.parameters(), *objective.target.parameters()):
            weight += 0.02 * torch.randn(
                weight.shape, generator=torch.Generator().manual_seed(weight.numel())
            )
    examples = recipe.examples("train", tmp_path / "cache")
    batch = batch_of([examples[row, row] for row in range(8)])
    objective.eval()
    seen: list[tuple[torch.Tensor, ...]] = []
    forward = objective.student.forward
    objective.student.forward = lambda *args, **options: (
        seen.append((*args, options["encoder_hidden_states"], options["timestep_cond"])),
        forward(*args, **options),
    )[1]
    with torch.no_grad():
        losses = objective(batch, torch.Generator().manual_seed(3))
    del objective.student.forward
    ((noisy, times, states, told),) = seen
    assert told[:6].abs().sum(dim=1).min() > 1
    assert torch.equal(told[6:], torch.zeros(2, 256))

    ddim = DDIMScheduler.from_config(path.scheduler.config, timestep_spacing="trailing")
    ddim.set_timesteps(SOLVER_STEPS)
    lcm = LCMScheduler.from_config(path.scheduler.config)
    lcm.set_timesteps(SOLVER_STEPS)
    empty, errors, drifts = objective.embeddings[:1], [], []

    def end(network: Any, point: torch.Tensor, time: torch.Tensor, row: int) -> torch.Tensor:
        found = predict(network, point, time[None], states[row, None], told[row, None])
        skip, out = lcm.get_scalings_for_boundary_condition_discrete(time)
        signal = lcm.alphas_cumprod[time]
        return skip * point + out * (signal.sqrt() * point - (1 - signal).sqrt() * found)

    with torch.no_grad():
        for row in range(8):
            point, time = noisy[row, None], times[row]
            conditional = predict(objective.teacher, point, time[None], states[row, None], None)
            if row >= 6:
                student = predict(
                    objective.student, point, time[None], states[row, None], torch.zeros(1, 256)
                )
                drifts.append((student - conditional).square().mean())
                continue
            assert (time + 1) % 200 == 0
            unconditional = predict(objective.teacher, point, time[None], empty, None)
            guided = unconditional + 4 * (conditional - unconditional)
            (nearer,) = ddim.step(guided, time, point, return_dict=False)[:1]
            if time == 199:  # DDIM's last step has no noise left; the path's ends at timestep 0
                nearer = path.solver_step(guided, point, time[None])
            before = max(time - 200, torch.tensor(0))
            errors.append(
                (
                    end(objective.student, point, time, row)
                    - end(objective.target, nearer, before, row)
                )
                .square()
                .mean()
            )
    assert float(losses["consistency"]) == pytest.approx(float(sum(errors)) / 6, rel=1e-3)
    assert float(losses["guided"]) == pytest.approx(float(sum(drifts)) / 2, rel=1e-3)
    assert float(losses["loss"]) == pytest.approx(float(sum(errors) + sum(drifts)) / 8, rel=1e-3)


def test_the_student_jumps_where_the_guided_teacher_walks(full_run: Any) -> None:
    before, after, folder = full_run
    assert loss_of(after, folder, "consistency") < 0.9 * loss_of(before, folder, "consistency")
    for guidance in (1.0, 7.0):
        assert error_of_jump(full_run, guidance) < 0.7


def test_an_untrained_student_is_its_teacher_whatever_it_is_told(full_run: Any) -> None:
    before, *_ = full_run
    assert drift(before) == 0
    with torch.no_grad():
        start = noise(4)
        torch.testing.assert_close(jump(before, start, 2.0), jump(before, start, 9.0))


def test_guided_sampling_stays_near_the_teacher_if_a_share_of_the_batch_is_for_it(
    full_run: Any, teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    _, recipe, _ = full_run
    kept = drift(recipe)
    assert 0 < kept < DRIFT
    config = config_of(teacher, dataset, tmp_path / "run", steps=80, guided_share=0)
    given_up, folder = train(config, tmp_path)
    assert isinstance(given_up, DistillationRecipe)
    assert drift(given_up) > 1.4 * kept
    unet = load_network(type(given_up.objective.student), folder, "unet")
    assert read_distillation(folder, unet.config) == Distillation(5, (1.0, 10.0), False, 5)
    assert RiffusionPipeline.from_pretrained(folder).scheduler.config.original_inference_steps == 5
    assert "guided sampling in many steps: not possible" in (folder / "README.md").read_text()


def test_a_distilled_checkpoint_that_can_be_guided_is_a_teacher_too(
    full_run: Any, dataset: Path, tmp_path: Path
) -> None:
    _, recipe, folder = full_run
    again = new_distillation(config_of(folder / "checkpoint", dataset, tmp_path / "run"), tmp_path)
    weight = again.objective.student.state_dict()["time_embedding.cond_proj.weight"]
    assert weight.abs().max() > 0
    assert drift(again) < ROUNDING
    assert recipe.objective.student.config.time_cond_proj_dim == weight.shape[1]
