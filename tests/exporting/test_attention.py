"""Self-attention in blocks of queries: what torch computes, in less memory."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional

from riffusion.exporting import attention
from riffusion.exporting.graph import trace
from riffusion.exporting.parts import Part, Sizes
from tests.exporting.conftest import EMBEDDED
from tests.exporting.exported import random

ROUNDING = 2e-6
"""Largest difference of attention's outputs, which are means of values of about 1."""
MAX_MB = 800
"""Peak memory of the UNet for a clip of 60 s: 570 MB in blocks, 2,970 with whole matrices."""


@pytest.mark.parametrize("positions", [1, 3, 8, 9, 50])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_blocks_compute_what_torch_does(positions: int, scale: float | None) -> None:
    query, key, value = (random(2, 3, positions, 4, seed=seed) for seed in range(3))
    expected = functional.scaled_dot_product_attention(query, key, value, scale=scale)
    found = attention.self_attention(query, key, value, scale)
    assert (found - expected).abs().max() < ROUNDING


def test_attention_to_other_tokens_or_with_a_mask_stays_whole() -> None:
    whole = functional.scaled_dot_product_attention
    query, key = random(1, 2, 16, 4), random(1, 2, 5, 4, seed=1)
    mask = torch.ones(16, 16).tril().bool()
    expected = (
        whole(query, key, key),
        whole(query, query, query, mask),
        whole(query, query, query, is_causal=True),
    )
    with pytest.MonkeyPatch.context() as patch, attention.in_blocks():
        patch.setattr(attention, "self_attention", None)
        now = functional.scaled_dot_product_attention
        found = (
            now(query, key, key),
            now(query, query, query, mask),
            now(query, query, query, is_causal=True),
        )
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert functional.scaled_dot_product_attention is whole


class _Attention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Identity()

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        tokens = sample.flatten(2).movedim(1, -1)[:, None]
        return functional.scaled_dot_product_attention(tokens, tokens, tokens)


def test_a_traced_graph_takes_any_number_of_positions() -> None:
    axes = {0: "rows", 2: "height", 3: "width"}
    part = Part(
        "unet",
        "unet",
        _Attention(),
        {"sample": axes},
        {"out": {0: "rows", 2: "positions"}},
        lambda *_: {"sample": random(2, 4, 4, 6)},
    )
    model = trace(part, Sizes(rows=2, height=4, width=6, chunks=1))
    assert [node.op_type for node in model.graph.node].count("Softmax") == attention.NUM_BLOCKS
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for rows, height, width in ((1, 1, 1), (3, 1, 5), (2, 4, 6), (1, 7, 9)):
        sample = random(rows, 4, height, width, seed=width)
        (found,) = session.run(None, {"sample": sample.numpy()})
        assert np.abs(found - part.module(sample).numpy()).max() < ROUNDING


def test_a_long_clip_takes_little_memory() -> None:
    graph = onnx.load(EMBEDDED / "unet.onnx", load_external_data=False).graph
    assert not {"Loop", "Scan", "If"} & {node.op_type for node in graph.node}  # for GPUs and NPUs
    numbers = {
        "threads": 1,
        "rows": 1,
        "tokens": 77,
        "height": 32,
        "width": 376,
        "pixels_per_latent": 16,
    }
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from riffusion.exporting import measuring\n"
        "measuring.milliseconds = lambda call: call()\n"
        "numbers = json.loads(sys.argv[2])\n"
        "print(measuring.measure(Path(sys.argv[1]), numbers, ['unet'])['peak_mb'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, EMBEDDED, json.dumps(numbers)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < MAX_MB
