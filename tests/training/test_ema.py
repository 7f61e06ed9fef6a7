"""The average of the weights: its formula, its files, and the weights that it stands for."""

from pathlib import Path

import pytest
import torch

from riffusion.training.ema import ExponentialMovingAverage


def test_ema_weights_are_saved_and_loaded(tmp_path: Path) -> None:
    weights = [torch.nn.Parameter(torch.randn(3)), torch.nn.Parameter(torch.randn(2, 2))]
    ema = ExponentialMovingAverage(weights, decay=0.9)
    ema.step(weights)
    ema.save(tmp_path / "averaged.safetensors")
    other = ExponentialMovingAverage(
        [torch.nn.Parameter(torch.zeros_like(w)) for w in weights], decay=0.9
    )
    other.load(tmp_path / "averaged.safetensors")
    assert other.optimization_step == 1
    for found, expected in zip(other.shadow_params, ema.shadow_params, strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="averages 2 weights"):
        ExponentialMovingAverage(weights[:1], decay=0.9).load(tmp_path / "averaged.safetensors")


def test_ema_follows_its_formula_and_restores_the_weights() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    ema, expected = ExponentialMovingAverage([weight], decay=0.6), 0.0
    for step in range(1, 6):
        weight.data.fill_(float(step))
        ema.step([weight])
        decay = min(1 - step**-0.75, 0.6)
        expected = decay * expected + (1 - decay) * step
    with ema.applied_to([weight]):
        assert weight.item() == pytest.approx(expected)
    assert weight.item() == 5
