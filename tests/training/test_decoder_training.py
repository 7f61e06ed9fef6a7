"""Training only the decoder of a finished checkpoint."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from tests.checkpoint.checkpoints import tiny_model, write_folder
from tests.datasets.striped_dataset import make_striped_dataset, striped_params
from tests.training.recipe_runs import QUIET, loss_of, new_recipe, train

SIDE = 16
_FROZEN = ("encoder.", "quant_conv.")


@pytest.mark.parametrize("adversarial", [0.0, 0.01])
def test_only_the_decoder_changes_and_the_whole_checkpoint_is_written(
    tmp_path: Path, adversarial: float
) -> None:
    base = write_folder(tiny_model(), tmp_path / "base")
    striped_params(SIDE).save(base)
    config = {
        "task": "autoencoder",
        "output": str(tmp_path / "run"),
        "init_from": str(base),
        "train_decoder_only": True,
        "loss": {"adversarial": adversarial},
        "data": {
            "dataset": str(make_striped_dataset(tmp_path / "stripes", side=SIDE)),
            "batch_size": 4,
        },
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 1, "weight_decay": 0.0},
        "run": QUIET | {"steps": 30},
    }
    before = loss_of(new_recipe(config, tmp_path), tmp_path, "error_of_255")
    recipe, folder = train(config, tmp_path)
    assert loss_of(recipe, tmp_path, "error_of_255") < 0.8 * before

    file = "vae/diffusion_pytorch_model.safetensors"
    expected, found = load_file(base / file), load_file(folder / file)
    changed = {n for n, w in found.items() if not torch.equal(w, expected[n].half())}
    assert changed == {name for name in expected if not name.startswith(_FROZEN)}

    old, new = (RiffusionPipeline.from_pretrained(path, device="cpu") for path in (base, folder))
    for part in ("unet", "text_encoder"):
        old_weights = getattr(old, part).state_dict()
        for name, weight in getattr(new, part).state_dict().items():
            assert torch.equal(weight, old_weights[name].half().float()), name
    inputs = {
        "start": {"prompt": "tone", "seed": 3},
        "num_inference_steps": 2,
        "mode": "txt2img",
        "duration_s": 0.64,
    }
    assert new.riffuse(InferenceInput.parse(inputs)).size == (SIDE, SIDE)
