"""Weights as integers of 8 bits: rounding, the exported graphs, and images of the same seed."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from riffusion.checkpoint.loader import load_components
from riffusion.checkpoint.manifest import read_manifest
from riffusion.errors import CheckpointError
from riffusion.exporting import images
from riffusion.exporting.export import export_checkpoint
from riffusion.exporting.rounding import quantised, rounded
from tests.checkpoint.refusal import refused
from tests.exporting.exported import assert_close, random, run_part, without_graphs

STEM = "diffusion_pytorch_model.w8.safetensors"


@pytest.fixture(scope="module")
def exported(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("w8") / "exported"
    export_checkpoint(str(tiny), folder, "w8", without_graphs, num_images=1)
    return folder


@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 3, 3)])
def test_integers_are_within_half_a_step(shape: tuple[int, ...]) -> None:
    weight = random(*shape) * torch.logspace(-3, 3, shape[0]).view(-1, *[1] * (len(shape) - 1))
    integers, scale = quantised(weight)
    assert integers.dtype == torch.int8
    assert scale.shape == (shape[0], *[1] * (len(shape) - 1))
    assert torch.equal(integers.abs().flatten(1).amax(1), torch.full((shape[0],), 127).char())
    assert bool(((integers * scale - weight).abs() <= scale * 0.5001).all())


def test_a_channel_of_zeros_stays_zero() -> None:
    integers, scale = quantised(torch.zeros(2, 3))
    assert not integers.any()
    assert torch.equal(scale, torch.ones(2, 1))


def test_the_network_becomes_what_is_stored() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.LayerNorm(4))
    bias = network[0].bias.detach().clone()
    stored = rounded(network, "w8")
    assert stored.keys() == {*network.state_dict(), "0.weight.scale"}
    assert torch.equal(network[0].weight, stored["0.weight"] * stored["0.weight.scale"])
    assert torch.equal(network[0].bias, bias)  # exact, in single precision
    assert stored["1.weight"].dtype == torch.float16  # ones, exact in half


@torch.inference_mode()
def test_graphs_compute_with_the_stored_integers(tiny: Path, exported: Path) -> None:
    unet = load_components(str(tiny), device="cpu").unet
    tensors = load_file(exported / "unet" / STEM)
    unet.load_state_dict(
        {
            name: tensor * tensors[f"{name}.scale"] if tensor.dtype == torch.int8 else tensor
            for name, tensor in tensors.items()
            if not name.endswith(".scale")
        }
    )
    assert sum(tensor.dtype == torch.int8 for tensor in tensors.values()) > 50
    inputs = {
        "sample": random(3, 4, 4, 8),
        "timestep": torch.tensor([20.0, 300.0, 900.0]),
        "encoder_hidden_states": random(3, 8, 64, seed=1),
        "encoder_attention_mask": torch.ones(3, 8),
        "timestep_cond": random(3, 8, seed=2),
    }
    found = run_part(exported, "unet", **inputs)["prediction"]
    assert_close(found, unet(**inputs, return_dict=False)[0])
    for row in range(3):  # activations are not integers, so rows don't influence each other
        alone = run_part(exported, "unet", **{k: v[row : row + 1] for k, v in inputs.items()})
        assert_close(found[row : row + 1], alone["prediction"])


def test_the_folder_is_small_and_says_what_it_is(exported: Path, exported_half: Path) -> None:
    manifest = read_manifest(exported)
    assert manifest.precision == "w8"
    assert manifest.image_psnr_db is not None
    assert images.MIN_PSNR_DB <= manifest.image_psnr_db <= images.MAX_PSNR_DB
    for part in manifest.parts.values():
        assert part.difference <= part.tolerance
        assert part.rounding is not None
        assert part.rounding > part.tolerance
    weights, half = (
        sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
        for folder in (exported, exported_half)
    )
    assert weights < 0.62 * half  # names and scales weigh more than in larger networks
    graph = onnx.load(exported / "vae_decoder.onnx", load_external_data=False).graph
    types = {tensor.data_type for tensor in graph.initializer if tensor.external_data}
    assert onnx.TensorProto.INT8 in types


def test_torch_says_that_it_cannot_load_integers(exported: Path) -> None:
    message = refused(exported)
    assert message.endswith(
        "has weights as integers, which only its graphs can use; name the checkpoint that it was "
        "exported from"
    )


def test_images_that_change_too_much_leave_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MIN_PSNR_DB", images.MAX_PSNR_DB + 1)
    with pytest.raises(CheckpointError, match=r"^w8 changes .* use --precision fp16$"):
        export_checkpoint(str(tiny), tmp_path / "out", "w8", without_graphs, num_images=1)
    assert list(tmp_path.iterdir()) == []


def test_psnr_is_that_of_the_worst_image() -> None:
    black = np.zeros((2, 2, 3))
    assert images.worst_psnr_db([black], [black]) == images.MAX_PSNR_DB
    found = images.worst_psnr_db([black, black], [black, black + 25.5])
    assert found == pytest.approx(20)
