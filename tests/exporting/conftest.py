"""The embedded checkpoint and a tiny one with a VAE, exported."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx import ModelProto

from riffusion.diffusion import RiffusionPipeline
from riffusion.exporting import graph, graphs, quantised_parts
from riffusion.exporting.export import export_checkpoint
from riffusion.exporting.parts import Part, Sizes
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import TinyModel, distilled_copy, write_folder
from tests.exporting.exported import without_graphs
from tests.needs import ROOT

EMBEDDED = ROOT / "data/demo-checkpoint"
SMALL = SpectrogramParams(num_frequencies=16, step_size_ms=80)
"""Images of 64 × 16 pixels, so that a part is compared with torch in no time."""
NOT_COMPUTED_WITH = {"architectures", "dtype", "pad_token_id", "sample_size"}
"""Settings of networks that no graph depends on; checkpoints of different ages differ in them."""


@pytest.fixture(scope="session", autouse=True)
def traced_once() -> Iterator[None]:
    """Trace equal networks once: a graph without weights doesn't depend on them."""
    traced: dict[object, ModelProto] = {}

    def trace(part: Part, sizes: Sizes) -> ModelProto:
        network = part.module.get_submodule("network")
        config = network.config if part.name != "text_encoder" else network.config.to_dict()
        settings = {
            name: value
            for name, value in config.items()
            if not name.startswith("_") and name not in NOT_COMPUTED_WITH
        }
        key = part.name, repr(part.module), repr(settings), sizes
        if key not in traced:
            traced[key] = graph.trace(part, sizes)
        copy = ModelProto()
        copy.CopyFrom(traced[key])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "trace", trace)
        patch.setattr(quantised_parts, "trace", trace)
        yield


@pytest.fixture(scope="session")
def demo() -> RiffusionPipeline:
    return RiffusionPipeline.from_pretrained(EMBEDDED, device="cpu")


@pytest.fixture(scope="session")
def tiny(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distilled checkpoint with an AutoencoderKL, in single precision."""
    folder = write_folder(distilled_copy(model), tmp_path_factory.mktemp("tiny") / "checkpoint")
    SMALL.save(folder)
    (folder / "README.md").write_text("a model card")
    (folder / "seed_images").mkdir()
    shutil.copy(ROOT / "data/seed_images/og_beat.png", folder / "seed_images")
    return folder


@pytest.fixture(scope="session")
def exported_tiny(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "exported"
    export_checkpoint(str(tiny), folder, "fp32", without_graphs)
    return folder


@pytest.fixture(scope="session")
def exported_half(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "half"
    export_checkpoint(str(tiny), folder, "fp16", without_graphs)
    return folder
