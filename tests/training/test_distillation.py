"""Distillation: the student jumps where the guided teacher walks, and can still be guided."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionPipeline,
)
from safetensors.torch import load_file

from riffusion.checkpoint.distillation import Distillation, read_distillation
from riffusion.cli.app import main
from riffusion.datasets.encode import encode_dataset
from riffusion.datasets.folder import DatasetFolder, DatasetRow, write_metadata
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.torch_random import generator_from_seed
from riffusion.errors import InputError
from riffusion.training.networks.build import load_network
from riffusion.training.recipes.distillation import DistillationRecipe
from riffusion.training.recipes.distillation_objective import predict
from tests.checkpoint.checkpoints import UNET_WEIGHTS
from tests.datasets.striped_dataset import make_striped_dataset
from tests.training.distillation_runs import (
    LORA,
    SIDE,
    SOLVER_STEPS,
    config_of,
    noise,
    write_teacher,
)
from tests.training.recipe_runs import (
    QUIET,
    batch_of,
    loss_of,
    new_recipe,
    train,
    write_config,
)

HALF_PRECISION_LEVELS = 4
"""Grey levels by which rounding the weights to half precision may change an image of 4 steps."""
ROUNDING = 1e-4
"""Absolute; predictions are of the order of 1, in single precision."""
DRIFT = 0.25
"""Deviation of the student's guided predictions from the teacher's, relative to theirs, after a
short run with a high learning rate. Without `guided_share` it is half as large again, and grows."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)


@pytest.fixture(scope="module")
def random_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("random") / "tiny")


@pytest.fixture(scope="module")
def teacher(random_teacher: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint that was trained for some steps."""
    folder = tmp_path_factory.mktemp("teacher")
    config = {
        "task": "fine_tune",
        "checkpoint": str(random_teacher),
        "output": str(folder / "run"),
        "data": {"dataset": str(dataset), "batch_size": 8, "circular_shifts": 4},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 5, "weight_decay": 0.0},
        "run": QUIET | {"steps": 80},
    }
    return train(config, folder)[1]


def new_distillation(config: dict[str, Any], folder: Path) -> DistillationRecipe:
    recipe = new_recipe(config, folder)
    assert isinstance(recipe, DistillationRecipe)
    recipe.examples("train", folder / "cache")  # embeds the captions
    return recipe


@pytest.fixture(scope="module")
def full_run(teacher: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(recipe before training, recipe after training, folder of the run)."""
    folder = tmp_path_factory.mktemp("full")
    config = config_of(teacher, dataset, folder / "run", steps=80)
    before = new_distillation(config, folder)
    recipe, _ = train(config, folder)
    return before, recipe, folder / "run"


def end_of_walk(recipe: DistillationRecipe, start: torch.Tensor, guidance: float) -> torch.Tensor:
    """Where the guided teacher arrives, by diffusers' DDIM; an untrained LoRA is its teacher."""
    objective = recipe.objective
    network = objective.student if objective.teacher is None else objective.teacher
    scheduler = DDIMScheduler.from_config(
        objective.path.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=False
    )
    scheduler.set_timesteps(SOLVER_STEPS)
    latents, states = start, states_of(recipe, len(start))
    empty = objective.embeddings[:1].expand(len(start), -1, -1)
    for timestep in scheduler.timesteps:
        times = timestep.repeat(len(start))
        without = predict(network, latents, times, empty, None)
        with_caption = predict(network, latents, times, states, None)
        guided = without + guidance * (with_caption - without)
        (latents,) = scheduler.step(guided, timestep, latents, return_dict=False)[:1]
    return latents


def jump(recipe: DistillationRecipe, start: torch.Tensor, guidance: float) -> torch.Tensor:
    """Where the student arrives in one step from pure noise."""
    objective = recipe.objective
    times = torch.full((len(start),), 999)
    told = objective.conditions(torch.full((len(start),), guidance), len(start))
    prediction = predict(objective.student, start, times, states_of(recipe, len(start)), told)
    return objective.path.end_of_path(prediction, start, times)


def error_of_jump(run: Any, guidance: float) -> float:
    """Squared distance of the trained student's jump from the walk's end, relative to that of the
    untrained student's."""
    before, after, _ = run
    start = noise(16)
    with torch.no_grad():
        walked = end_of_walk(before, start, guidance)
        at_first, at_last = (
            float((jump(recipe, start, guidance) - walked).square().mean())
            for recipe in (before, after)
        )
    return at_last / at_first


def states_of(recipe: DistillationRecipe, rows: int) -> torch.Tensor:
    """Embedded captions; number 0 is the empty one."""
    numbers = 1 + torch.arange(rows) % (len(recipe.table.captions) - 1)
    return recipe.objective.embeddings[numbers]


def drift(recipe: DistillationRecipe) -> float:
    """Difference between student and teacher when neither is told a guidance."""
    objective, rows = recipe.objective, 16
    width = objective.student.config.time_cond_proj_dim
    times = torch.arange(rows) * 60 + 30
    noisy, states = noise(rows, seed=1), states_of(recipe, rows)
    with torch.no_grad():
        student = predict(objective.student, noisy, times, states, torch.zeros(rows, width))
        teacher = predict(objective.teacher, noisy, times, states, None)
    return float(((student - teacher).square().mean() / teacher.square().mean()).sqrt())


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


def test_the_checkpoint_says_what_it_can(full_run: Any) -> None:
    *_, folder = full_run
    checkpoint = folder / "checkpoint"
    assert json.loads((checkpoint / "distillation.json").read_text()) == {
        "max_steps": 5,
        "guidance": [1.0, 10.0],
        "guided_sampling": True,
        "solver_steps": 5,
    }
    config = json.loads((checkpoint / "unet/config.json").read_text())
    assert config["time_cond_proj_dim"] == 256
    pipeline = RiffusionPipeline.from_pretrained(checkpoint, device="cpu")
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"
    card = (checkpoint / "README.md").read_text()
    assert "teacher: checkpoint, predicts v_prediction, guidance 1 to 10, drawn per example" in card
    assert "guided sampling in many steps: as the teacher" in card
    assert "by `riffusion distill`" in card


def test_stock_diffusers_draws_the_sample_grid(full_run: Any) -> None:
    """The exported checkpoint in its latent consistency pipeline, with the same noise."""
    _, recipe, folder = full_run
    stock = LatentConsistencyModelPipeline.from_pretrained(
        folder / "checkpoint", torch_dtype=torch.float32
    )
    stock.scheduler = LCMScheduler.from_config(
        recipe.objective.path.scheduler.config, clip_sample=False
    )
    stock.set_progress_bar_config(disable=True)
    sampled = recipe.sample()
    assert sampled.captions == ["tone", "beat"]
    for caption, row in zip(sampled.captions, sampled.rows, strict=True):
        for seed, image in enumerate(row):
            generator = generator_from_seed(seed)
            expected = stock(
                caption,
                height=SIDE,
                width=image.width,
                num_inference_steps=4,
                guidance_scale=5.5,  # the middle of the range
                latents=torch.randn(1, 4, SIDE // 2, image.width // 2, generator=generator),
                generator=generator,
            ).images[0]
            found = np.asarray(image, dtype=np.int16)
            error = np.abs(np.asarray(expected, dtype=np.int16) - found)
            assert error.max() <= HALF_PRECISION_LEVELS


@pytest.fixture(scope="module")
def lora_run(teacher: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(recipe before training, recipe after training, folder of the run)."""
    folder = tmp_path_factory.mktemp("lora")
    options = {"student": "lora", "lora": LORA, "guidance": [3, 3]}
    config = config_of(teacher, dataset, folder / "run", steps=80, **options)
    config["optimizer"]["learning_rate"] = 8e-3
    before = new_distillation(config, folder)
    recipe, _ = train(config, folder)
    return before, recipe, folder / "run"


def test_a_lora_student_learns_and_its_teacher_stays(lora_run: Any, teacher: Path) -> None:
    before, after, folder = lora_run
    assert loss_of(after, folder) < loss_of(before, folder)
    assert error_of_jump(lora_run, 3.0) < 0.8
    expected = load_file(teacher / UNET_WEIGHTS)
    for name, weight in after.objective.student.state_dict().items():
        if "lora_" not in name:
            found = weight.half()
            assert torch.equal(found, expected[name.replace(".base_layer", "")]), name
    assert after.objective.target is None
    assert after.objective.teacher is None
    state_names = after.objective.state_dict().keys()
    assert state_names
    assert all("lora_" in name for name in state_names)


def test_the_adapter_draws_what_the_merged_checkpoint_does(lora_run: Any, teacher: Path) -> None:
    *_, folder = lora_run

    def image(checkpoint: Path, adapter: Path | None = None) -> np.ndarray:
        pipeline = StableDiffusionPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        if adapter is not None:
            pipeline.load_lora_weights(adapter)
        pipeline.scheduler = LCMScheduler.from_config(
            {
                name: value
                for name, value in pipeline.scheduler.config.items()
                if name.startswith(("beta", "prediction"))
            }
        )
        options = {"height": SIDE, "width": SIDE, "num_inference_steps": 4, "guidance_scale": 1.0}
        drawn = pipeline("tone", generator=torch.Generator().manual_seed(3), **options).images[0]
        return np.asarray(drawn, dtype=np.int16)

    merged = image(folder / "checkpoint")
    assert np.abs(image(teacher, folder / "adapter") - merged).max() <= HALF_PRECISION_LEVELS
    assert np.abs(image(teacher) - merged).max() > 3 * HALF_PRECISION_LEVELS
    assert not (folder / "checkpoint/distillation.json").exists()
    readme = (folder / "adapter/README.md").read_text()
    assert "num_inference_steps=4, guidance_scale=1" in readme


@pytest.mark.parametrize("student", ["full", "lora"])
def test_half_precision_leaves_the_student_its_gradients(
    teacher: Path, dataset: Path, tmp_path: Path, student: str
) -> None:
    """Autocast shares copies of the weights between calls with and without gradients."""
    options = {"student": student, "run": {"mixed_precision": "bf16"}, "target_decay": 0}
    recipe = new_distillation(config_of(teacher, dataset, tmp_path / "run", **options), tmp_path)
    examples = recipe.examples("train", tmp_path / "cache")
    batch = batch_of([examples[row, row] for row in range(8)])
    with torch.autocast("cpu", torch.bfloat16):
        loss = recipe.objective(batch, torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    trained = {n: p for n, p in recipe.objective.student.named_parameters() if p.requires_grad}
    for name, weight in trained.items():
        assert weight.dtype == torch.float32
        assert weight.grad is not None, name
        is_zero = name.endswith("lora_A.default.weight")  # until B is no longer zero
        assert (float(weight.grad.abs().max()) == 0) == is_zero, name


@pytest.mark.parametrize(
    "options",
    [
        {"student": "full", "run": {"mixed_precision": "bf16"}},
        {"student": "full", "target_decay": 0, "guided_share": 0, "data": {"accumulate": 2}},
        {"student": "lora", "lora": LORA | {"dropout": 0.2}},
    ],
    ids=["full in half precision", "full without a target", "lora"],
)
def test_a_run_resumes_exactly(
    random_teacher: Path, dataset: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    run = {"save_every": 2, "ema_decay": 0.9} | options.get("run", {})
    config = config_of(random_teacher, dataset, tmp_path / "run", **options | {"run": run})
    _, folder = train(config, tmp_path)
    state = load_file(tmp_path / "run/states/step-00000002/model.safetensors")
    parts = {name.partition(".")[0] for name in state}
    has_target = options["student"] == "full" and "target_decay" not in options
    assert parts == ({"student", "target"} if has_target else {"student"})
    expected = load_file(folder / UNET_WEIGHTS)
    shutil.rmtree(tmp_path / "run/states/step-00000004")
    shutil.rmtree(folder)
    train(config, tmp_path)
    found = load_file(folder / UNET_WEIGHTS)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(weight, found[name]), name


def test_the_target_is_a_moving_average_of_the_student(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    """It moves once per step, however many batches a step has."""
    config = config_of(
        random_teacher,
        dataset,
        tmp_path / "run",
        steps=1,
        target_decay=0.75,
        data={"accumulate": 2, "batch_size": 4},
    )
    first = new_distillation(config, tmp_path).objective.student.state_dict()
    recipe, _ = train(config, tmp_path)
    assert isinstance(recipe, DistillationRecipe)
    assert recipe.objective.target is not None
    last = recipe.objective.student.state_dict()
    for name, weight in recipe.objective.target.state_dict().items():
        torch.testing.assert_close(weight, torch.lerp(first[name], last[name], 0.25))
    assert any(not torch.equal(first[name], last[name]) for name in first)


def test_a_run_validates_and_samples(random_teacher: Path, dataset: Path, tmp_path: Path) -> None:
    run = {"validate_every": 4, "sample_every": 4, "validation_batches": 1, "log_every": 2}
    config = config_of(random_teacher, dataset, tmp_path / "run", run=run)
    config["sample"] = {"prompts": ["beat"], "seeds": 3, "steps": 2, "guidance": 7}
    train(config, tmp_path)
    assert (tmp_path / "run/samples/step-00000004.png").is_file()


def test_packed_latents_give_the_same_examples(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    vae = new_distillation(config_of(random_teacher, dataset, tmp_path / "a"), tmp_path).vae
    encode_dataset(DatasetFolder(dataset), vae, tmp_path / "packed", levels=16)
    both = [
        new_distillation(config_of(random_teacher, source, tmp_path / "b"), tmp_path).examples(
            "train", tmp_path / "cache"
        )
        for source in (dataset, tmp_path / "packed")
    ]
    for draw in range(24):
        images, latents = (examples[draw, draw] for examples in both)
        assert images["caption"] == latents["caption"]
        torch.testing.assert_close(images["latents"], latents["latents"], atol=0.04, rtol=0.01)


def test_captions_are_embedded_once_as_the_text_encoder_does(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    config = config_of(random_teacher, dataset, tmp_path / "run", data={"caption_dropout": 0.25})
    recipe = new_distillation(config, tmp_path)
    own = ("a beat", "a tone", "beat", "beat, steady", "tone", "tone, steady")
    assert recipe.table.captions == ["", *own]
    pipeline = recipe._pipeline(recipe.objective.student, recipe.scheduler)
    for number, caption in enumerate(recipe.table.captions):
        expected = pipeline.embed_text(caption)[0]
        torch.testing.assert_close(recipe.objective.embeddings[number], expected)
    examples = recipe.examples("train", tmp_path / "cache")
    drawn = [int(examples[draw % 24, draw]["caption"]) for draw in range(960)]
    rows = DatasetFolder(dataset).rows("train")
    for draw, number in enumerate(drawn):
        assert number == 0 or recipe.table.captions[number] in rows[draw % 24].all_captions
    assert drawn.count(0) == pytest.approx(240, abs=60)
    assert set(drawn) == set(range(7))


def test_a_data_set_without_captions_can_be_distilled(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(dataset, tmp_path / "silent")
    for split in ("train", "validation"):
        rows = [DatasetRow(row.file_name, "") for row in DatasetFolder(dataset).rows(split)]
        write_metadata(folder, split, rows)
    recipe = new_distillation(config_of(random_teacher, folder, tmp_path / "run"), tmp_path)
    assert recipe.table.captions == [""]
    pipeline = recipe._pipeline(recipe.objective.student, recipe.scheduler)
    torch.testing.assert_close(recipe.objective.embeddings, pipeline.embed_text(""))
    assert np.isfinite(loss_of(recipe, tmp_path))


def test_networks_are_moved_outside_inference_mode(
    random_teacher: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are moved within it could not be changed or trained any more."""
    recipe = new_distillation(config_of(random_teacher, dataset, tmp_path / "run"), tmp_path)
    seen = []
    for part in (recipe.vae, recipe.text_encoder):

        def to(*args: Any, move: Any = part.to) -> Any:
            seen.append(torch.is_inference_mode_enabled())
            return move(*args)

        monkeypatch.setattr(part, "to", to)
    recipe.sample()
    assert seen == [False] * 4


def test_a_distilled_checkpoint_that_can_be_guided_is_a_teacher_too(
    full_run: Any, dataset: Path, tmp_path: Path
) -> None:
    _, recipe, folder = full_run
    again = new_distillation(config_of(folder / "checkpoint", dataset, tmp_path / "run"), tmp_path)
    weight = again.objective.student.state_dict()["time_embedding.cond_proj.weight"]
    assert weight.abs().max() > 0
    assert drift(again) < ROUNDING
    assert recipe.objective.student.config.time_cond_proj_dim == weight.shape[1]


def refusal(config: dict[str, Any], folder: Path) -> str:
    """The one line that refuses a run, by the command line."""
    with pytest.raises(InputError) as caught:
        recipe = new_recipe(config, folder)
        recipe.examples("train", folder / "cache")
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_teacher_that_cannot_be_guided_is_refused(
    full_run: Any, dataset: Path, tmp_path: Path
) -> None:
    *_, folder = full_run
    published = shutil.copytree(folder / "checkpoint", tmp_path / "published")
    (published / "distillation.json").unlink()
    config = config_of(published, dataset, tmp_path / "run")
    assert refusal(config, tmp_path) == (
        f"checkpoint={str(published)!r} is a distilled network without guided sampling, but a "
        "teacher is sampled with guidance in many steps; name the checkpoint that it was distilled "
        "from"
    )
    Distillation(4, (2.0, 3.0), guided_sampling=False).save(published)
    assert "is a distilled network without guided sampling" in refusal(config, tmp_path)


def test_a_lora_for_a_distilled_checkpoint_is_refused(
    full_run: Any, dataset: Path, tmp_path: Path
) -> None:
    *_, folder = full_run
    config = config_of(folder / "checkpoint", dataset, tmp_path / "run", student="lora")
    line = refusal(config, tmp_path)
    assert "is distilled already, and student=lora would change its guided sampling" in line
    assert "use student=full" in line


def test_lora_for_modules_that_do_not_exist_is_refused(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    options = {"student": "lora", "lora": {"unet_modules": ["to_q", "query"]}}
    line = refusal(config_of(random_teacher, dataset, tmp_path / "run", **options), tmp_path)
    assert line.startswith("lora.unet_modules: no linear or convolutional layer's name ends in 'qu")


def test_latents_of_another_vae_are_refused(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    vae = new_distillation(config_of(random_teacher, dataset, tmp_path / "a"), tmp_path).vae
    with torch.no_grad():
        vae.encoder.conv_in.weight += 0.1
    encode_dataset(DatasetFolder(dataset), vae, tmp_path / "packed")
    config = config_of(random_teacher, tmp_path / "packed", tmp_path / "run")
    assert "holds latents of encoder" in refusal(config, tmp_path)


def test_a_teacher_that_predicts_the_image_is_refused(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    teacher = shutil.copytree(random_teacher, tmp_path / "teacher")
    path = teacher / "scheduler/scheduler_config.json"
    path.write_text(path.read_text().replace("v_prediction", "sample"))
    line = refusal(config_of(teacher, dataset, tmp_path / "run"), tmp_path)
    assert line.endswith("predicts 'sample'; only epsilon and v_prediction can be trained")


def test_the_command_distills_and_refuses_other_tasks(
    random_teacher: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(random_teacher, dataset, tmp_path / "run", steps=1)
    path = write_config(config, tmp_path / "config.yaml")
    assert main(["distill", str(path), "--set", "run.steps=2"]) == 0
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'run/checkpoint'}\n"
    assert main(["distill", str(path), "--set", "solver_steps=7"]) == 2
    assert "solver_steps=7 must divide the checkpoint's 1000 timesteps" in capsys.readouterr().err
    other = {name: config[name] for name in ("checkpoint", "output", "data", "run", "optimizer")}
    path = write_config({"task": "fine_tune", **other}, path)
    assert main(["distill", str(path)]) == 2
    line = capsys.readouterr().err
    assert "task='fine_tune', but riffusion distill needs task=distill; run `riffusion tr" in line
    assert line.count("\n") == 1
