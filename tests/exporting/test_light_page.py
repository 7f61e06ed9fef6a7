"""The page on exported checkpoints: its program runs without torch, its names are right."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import torch

from riffusion.checkpoint.manifest import PARTS
from riffusion.diffusion import RiffusionPipeline
from tests.exporting.conftest import EMBEDDED
from tests.exporting.exported import assert_close
from tests.needs import ROOT

PAGE = (ROOT / "docs/light.md").read_text()
WITHOUT_TORCH = (
    "import sys\nfor name in ('torch', 'onnx', 'riffusion'):\n    sys.modules[name] = None\n"
)


def test_the_program_embeds_as_the_pipeline_does(demo: RiffusionPipeline, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "exported").symlink_to(EMBEDDED)
    code = f"{WITHOUT_TORCH}{program}\nnp.save('found.npy', embeddings)\n"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    found = torch.from_numpy(np.load(tmp_path / "found.npy"))
    assert_close(found, demo.embed_text("church bells"))


def test_the_page_names_each_input_and_output() -> None:
    for part in PARTS:
        graph = onnx.load(EMBEDDED / f"{part}.onnx", load_external_data=False).graph
        (row,) = re.findall(rf"^\| `{part}` \|.*$", PAGE, re.MULTILINE)
        for value in (*graph.input, *graph.output):
            assert f"`{value.name}`" in row
