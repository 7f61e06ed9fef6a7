"""A student that is a LoRA for its teacher."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import LCMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file

from tests.checkpoint.checkpoints import UNET_WEIGHTS
from tests.training.distillation.runs import LORA, SIDE, config_of
from tests.training.distillation.students import (
    HALF_PRECISION_LEVELS,
    error_of_jump,
    new_distillation,
)
from tests.training.recipe_runs import loss_of, train


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
