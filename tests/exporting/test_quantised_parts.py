"""Graphs that compute with integers: what is quantised, by what quality, and rows stay apart."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from riffusion.checkpoint.distillation import Distillation
from riffusion.checkpoint.manifest import read_manifest
from riffusion.errors import CheckpointError, InputError
from riffusion.exporting import images, quantised_parts, quantising
from riffusion.exporting.calibration import PROMPTS, record
from riffusion.exporting.export import export_checkpoint
from riffusion.exporting.graph import trace
from riffusion.exporting.graphs import ExportedGraph
from riffusion.exporting.parts import Part, Sizes
from riffusion.exporting.quantising import SCHEMES
from riffusion.exporting.rounding import CALIBRATED
from riffusion.exporting.weights import move_weights
from riffusion.light.pipeline import LightPipeline
from tests.checkpoint.refusal import refused
from tests.cli.conftest import Run, run
from tests.exporting.exported import files_of, random, run_part, without_graphs

__all__ = ["run"]  # a fixture

DOMAINS = {"int8": "", "w8a16": "com.microsoft"}
"""Where conversions to integers are from: in opset 17, the standard's have 8 bits."""
SIZES = Sizes(rows=2, height=4, width=4, chunks=1)
WIDTH = 6


@pytest.fixture(scope="module", params=CALIBRATED)
def precision(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def exported(tiny: Path, precision: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(precision) / "exported"
    with pytest.MonkeyPatch.context() as patch:
        # Random weights: rounding changes their images more than those of trained ones.
        patch.setattr(quantised_parts, "MIN_PSNR_DB", dict.fromkeys(quantised_parts.PARTS, 0.0))
        patch.setattr(images, "MIN_PSNR_DB", 0.0)
        export_checkpoint(str(tiny), folder, precision, without_graphs, num_images=1, num_clips=1)
    return folder


class _Layers(torch.nn.Module):
    """A small network with two layers of each kind that is quantised."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.wide = torch.nn.Conv2d(8, 16, 1)
        self.narrow = torch.nn.Conv2d(16, 4, 1)
        self.linear = torch.nn.Linear(4, 4, bias=False)
        self.last = torch.nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        narrow = self.narrow(torch.relu(self.wide(self.first(values))))
        return self.last(self.linear(narrow.movedim(1, -1)).movedim(-1, 1))


class _Module(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = _Layers()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network(pixels)


@pytest.fixture(scope="module")
def part() -> Part:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = _Module().eval()
    axes = {0: "rows", 2: "height", 3: "width"}
    return Part("unet", "unet", module, {"pixels": axes}, {"out": axes}, lambda *_: _pixels(2))


def _pixels(rows: int) -> dict[str, torch.Tensor]:
    return {"pixels": random(rows, 3, 4, WIDTH)}


@pytest.fixture
def float_path(part: Part, tmp_path: Path) -> Path:
    path = tmp_path / "float.onnx"
    quantising.float_graph(trace(part, SIZES), part, path)
    return path


def outputs(graph: Path | bytes, rows: int) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": _pixels(rows)["pixels"].numpy()})[0]


def quantised_small_graph(
    float_path: Path, tmp_path: Path, precision: str
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The graph in integers, and its constants by name."""
    inputs = [{"pixels": _pixels(2)["pixels"].numpy()}]
    ranges = quantising.ranges_of(float_path, inputs, tmp_path / "scratch.onnx")
    model = quantising.quantised_graph(float_path, ranges, [], SCHEMES[precision])
    return model, {it.name: onnx.numpy_helper.to_array(it) for it in model.graph.initializer}


def test_the_graph_to_begin_with_computes_as_torch(part: Part, float_path: Path) -> None:
    with torch.inference_mode():
        expected = part.module(**_pixels(3)).numpy()
    assert np.allclose(outputs(float_path, 3), expected, atol=1e-5)
    graph = onnx.load(float_path).graph
    products = [node for node in graph.node if node.op_type == "MatMul"]
    constants = {tensor.name for tensor in graph.initializer}
    assert [node.input[1] in constants for node in products] == [True]  # not transposed each time


def test_ranges_are_those_of_the_inputs(float_path: Path, tmp_path: Path) -> None:
    inputs = [{"pixels": np.full((1, 3, 4, 4), value, np.float32)} for value in (-2, 0.5, 3)]
    ranges = quantising.ranges_of(float_path, inputs, tmp_path / "scratch.onnx")
    assert [value.item() for value in ranges["pixels"].range_value] == [-2, 3]
    model = quantising.quantised_graph(float_path, ranges, [], SCHEMES["int8"])
    constants = {it.name: onnx.numpy_helper.to_array(it) for it in model.graph.initializer}
    assert constants["pixels_scale"] == pytest.approx(5 / 255)
    assert constants["pixels_zero_point"] == round(2 * 255 / 5)
    assert "DynamicQuantizeLinear" not in {node.op_type for node in model.graph.node}


def test_weights_have_a_scale_per_channel_and_seven_bits(
    part: Part, float_path: Path, tmp_path: Path
) -> None:
    model, constants = quantised_small_graph(float_path, tmp_path, "int8")
    weight = part.module.get_submodule("network").wide.weight.detach().numpy()
    integers, scale = constants["wide.weight_quantized"], constants["wide.weight_scale"]
    assert integers.dtype == np.int8
    assert scale.shape == (16,)
    assert np.abs(integers).max() <= 64  # so that no processor's sums of two overflow
    assert np.abs(integers * scale[:, None, None, None] - weight).max() <= scale.max() * 0.51
    error = np.abs(outputs(model.SerializeToString(), 2) - outputs(float_path, 2)).max()
    assert 1e-5 < error < 0.05


def test_weights_for_npus_have_eight_bits_and_one_scale_per_matrix(
    part: Part, float_path: Path, tmp_path: Path
) -> None:
    model, constants = quantised_small_graph(float_path, tmp_path, "w8a16")
    weight = part.module.get_submodule("network").wide.weight.detach().numpy()
    integers, scale = constants["wide.weight_quantized"], constants["wide.weight_scale"]
    assert integers.dtype == np.int8
    assert np.abs(integers).max() == 127
    assert np.abs(integers * scale[:, None, None, None] - weight).max() <= scale.max() * 0.51
    assert constants["pixels_zero_point"].dtype == np.uint16
    (product,) = (node for node in model.graph.node if node.op_type == "MatMul")
    by_output = {name: node for node in model.graph.node for name in node.output}
    integers, scale, zero = (constants[name] for name in by_output[product.input[1]].input)
    matrix = part.module.get_submodule("network").linear.weight.detach().numpy()
    assert (integers.dtype, scale.shape, zero) == (np.int8, (), 0)
    assert scale == pytest.approx(np.abs(matrix).max() / 127, rel=0.01)
    # Behind each operator are integers, and before each of its inputs.
    by_input = {name: node.op_type for node in model.graph.node for name in node.input}
    layers = [node for node in model.graph.node if node.op_type in quantising.QUANTISED]
    assert {by_input[node.output[0]] for node in layers} == {"QuantizeLinear"}
    assert {by_output[name].op_type for node in layers for name in node.input} == {
        "DequantizeLinear"
    }
    coarse, _ = quantised_small_graph(float_path, tmp_path, "int8")
    expected = outputs(float_path, 2)
    error, coarse_error = (
        np.abs(outputs(graph.SerializeToString(), 2) - expected).mean() for graph in (model, coarse)
    )
    assert 1e-6 < error < coarse_error / 2


def test_what_is_left_out_stays_in_single_precision(float_path: Path, tmp_path: Path) -> None:
    layers, shapes = quantised_parts.layers_of(float_path)
    weights = {node.name: node.input[1] for node in layers}
    chosen = {
        name: [weights[node] for node in choose(layers, shapes)]
        for name, choose in quantised_parts.LEFT_OUT.items()
    }
    ends, narrow, narrower = chosen.values()
    assert ends == ["first.weight", "last.weight"]
    assert narrow[:2] == ends
    assert len(narrow) == 4  # the layers of four channels, too; not the widest
    assert "narrow.weight" in narrow
    assert "wide.weight" not in narrow
    assert set(narrower) == set(weights.values())
    assert quantised_parts.choices("int8") == quantised_parts.LEFT_OUT
    nothing, *others = quantised_parts.choices("w8a16").items()
    assert nothing[1](layers, shapes) == []
    assert dict(others) == quantised_parts.LEFT_OUT
    ranges = quantising.ranges_of(
        float_path, [{"pixels": _pixels(2)["pixels"].numpy()}], tmp_path / "scratch.onnx"
    )
    names = [name for name, weight in weights.items() if weight in narrow]
    model = quantising.quantised_graph(float_path, ranges, names, SCHEMES["int8"])
    kept = {it.name for it in model.graph.initializer if it.data_type == onnx.TensorProto.FLOAT}
    assert set(narrow) <= kept
    assert "wide.weight" not in kept


def test_weights_that_are_moved_stay_the_same(float_path: Path, tmp_path: Path) -> None:
    model = onnx.load(float_path)
    for tensor in model.graph.initializer:
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    (large,) = (it for it in model.graph.initializer if it.name == "wide.weight")
    values = onnx.numpy_helper.to_array(large).copy()
    values[0] = 1e6
    large.CopyFrom(onnx.numpy_helper.from_array(values, large.name))
    expected = outputs(model.SerializeToString(), 2)
    move_weights(model, tmp_path, "own.safetensors")
    onnx.save(model, tmp_path / "moved.onnx")
    assert np.array_equal(outputs(tmp_path / "moved.onnx", 2), expected)
    stored = {it.name: it.data_type for it in model.graph.initializer if it.external_data}
    assert stored["first.weight"] == onnx.TensorProto.FLOAT16
    assert stored["wide.weight"] == onnx.TensorProto.FLOAT  # too large for half precision
    assert (tmp_path / "moved.onnx").stat().st_size < float_path.stat().st_size


def test_parts_that_are_too_large_are_refused(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantising, "MAX_BYTES", 100)
    with pytest.raises(CheckpointError, match=r"^unet has .* use --precision w8$"):
        quantising.float_graph(trace(part, SIZES), part, tmp_path / "float.onnx")


def test_calibration_sees_every_step_of_every_preset(exported_tiny: Path) -> None:
    found = record(exported_tiny, 2)
    assert found.keys() == {"text_encoder", "unet", "vae_encoder", "vae_decoder"}
    steps = [float(it["timestep"].max()) for it in found["unet"]]
    assert steps == [999, 759, 499, 259] * 2  # it can only be drawn with `instant`
    assert len(found["vae_decoder"]) == len(found["vae_encoder"]) == 2
    assert all(np.abs(it["pixels"]).max() <= 1 for it in found["vae_encoder"])
    assert not set(PROMPTS) & set(images.PROMPTS)


@pytest.mark.parametrize(
    ("distillation", "presets"),
    [
        (None, ["fast"]),
        (Distillation(max_steps=4, guidance=(1, 8), guided_sampling=False), ["instant"]),
        (Distillation(max_steps=4, guidance=(1, 8), guided_sampling=True), ["fast", "instant"]),
    ],
)
def test_images_are_drawn_in_every_way_that_a_checkpoint_has(
    distillation: Distillation | None, presets: list[str]
) -> None:
    assert images.presets_of(distillation) == presets


def test_rows_of_a_batch_are_what_they_are_alone(exported: Path) -> None:
    inputs = {
        "sample": random(5, 4, 4, 8),
        "timestep": torch.tensor([20.0, 300.0, 900.0, 5.0, 999.0]),
        "encoder_hidden_states": random(5, 8, 64, seed=1),
        "encoder_attention_mask": torch.ones(5, 8),
        "timestep_cond": random(5, 8, seed=2),
    }
    inputs["sample"][1] *= 50  # a range that is taken from the batch would follow this row
    together = run_part(exported, "unet", **inputs)["prediction"]
    for row in range(5):
        alone = run_part(exported, "unet", **{k: v[row : row + 1] for k, v in inputs.items()})
        assert torch.equal(together[row : row + 1], alone["prediction"])
    latents = random(3, 4, 4, 8, seed=3)
    latents[1] *= 50
    pixels = run_part(exported, "vae_decoder", latents=latents)["pixels"]
    for row in range(3):
        alone = run_part(exported, "vae_decoder", latents=latents[row : row + 1])
        assert torch.equal(pixels[row : row + 1], alone["pixels"])


def test_the_folder_says_what_it_is(tiny: Path, exported: Path, precision: str) -> None:
    manifest = read_manifest(exported)
    assert manifest.precision == precision
    found = {name: part.precision for name, part in manifest.parts.items()}
    assert found == dict.fromkeys(quantised_parts.PARTS, precision) | {"text_encoder": "w8"}
    for name in quantised_parts.PARTS:
        part = manifest.parts[name]
        assert part.difference <= part.tolerance
        assert part.rounding is not None
        assert part.rounding > part.tolerance
        assert part.image_psnr_db is not None
        assert part.left_out == next(iter(quantised_parts.choices(precision)))
        assert part.weights == (f"{name.partition('_')[0]}/{name}.{precision}.safetensors",)
        graph = onnx.load(exported / part.graph, load_external_data=False).graph
        stored = {it.data_type for it in graph.initializer if it.external_data}
        assert onnx.TensorProto.INT8 in stored
        rounding = [node for node in graph.node if node.op_type == "QuantizeLinear"]
        assert {node.domain for node in rounding} == {DOMAINS[precision]}
    names = {path.name for path in exported.rglob("*") if path.suffix in (".onnx", ".safetensors")}
    assert names == {name.rpartition("/")[2] for name in manifest.network_files}
    assert str(tiny.parent).encode() not in b"".join(files_of(exported).values())


def test_torch_says_that_it_cannot_load_it(exported: Path) -> None:
    assert "has weights as integers, which only its graphs can use" in refused(exported)


def test_the_light_engine_draws_with_it(exported: Path) -> None:
    (image,) = images.draw(LightPipeline.from_pretrained(exported), ["piano"])
    assert image.shape[:2] == (16, 64)
    assert image.std() > 1


def test_parts_that_change_images_too_much_stay_as_they_are(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(quantised_parts.MIN_PSNR_DB, "vae_decoder", images.MAX_PSNR_DB + 1)
    monkeypatch.setattr(images, "MIN_PSNR_DB", 0.0)
    monkeypatch.setattr(quantised_parts, "PARTS", ("vae_decoder",))
    graphs: list[ExportedGraph] = []
    folder = tmp_path / "out"
    export_checkpoint(str(tiny), folder, "int8", graphs.append, num_images=1, num_clips=1)
    manifest = read_manifest(folder)
    assert {part.precision for part in manifest.parts.values()} == {"w8"}
    assert [graph.precision for graph in graphs] == ["w8"] * 4
    assert not [name for name in files_of(folder) if "int8" in name or "candidate" in name]


def test_images_that_change_too_much_leave_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised_parts, "quantise", lambda *_: {})
    found = iter([50.0, 20.0])
    monkeypatch.setattr(images, "worst_psnr_db", lambda *_: next(found))
    with pytest.raises(CheckpointError, match=r"^int8 changes images to 20.0 dB .* w8$"):
        export_checkpoint(str(tiny), tmp_path / "out", "int8", without_graphs, num_images=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "option"), [("num_images", "images"), ("num_clips", "calibrate")])
def test_quality_has_to_be_measured(tiny: Path, tmp_path: Path, name: str, option: str) -> None:
    with pytest.raises(InputError, match="at least one") as caught:
        export_checkpoint(str(tiny), tmp_path / "out", "int8", without_graphs, **{name: 0})
    assert caught.value.field == option
    assert not (tmp_path / "out").exists()


def test_other_precisions_are_not_calibrated(run: Run, tiny: Path, tmp_path: Path) -> None:
    result = run("export", tiny, "-o", tmp_path / "out", "--precision", "w8", "--calibrate", "2")
    assert result.code == 2
    assert result.err == (
        "error: --calibrate: 2 is for --precision int8 and w8a16 only; leave it out\n"
    )


def test_an_unknown_precision_is_said_first(run: Run, tiny: Path, tmp_path: Path) -> None:
    result = run("export", tiny, "-o", tmp_path / "out", "--precision", "w8a8", "--calibrate", "2")
    assert result.code == 2
    assert "--precision: 'w8a8' must be one of fp32, fp16, w8, int8, w8a16" in result.err


def test_the_manifest_has_the_precision_of_each_part(exported_half: Path) -> None:
    values = json.loads((exported_half / "manifest.json").read_text())
    assert {part["precision"] for part in values["parts"].values()} == {"fp16"}
