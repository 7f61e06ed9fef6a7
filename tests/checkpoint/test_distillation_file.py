"""`distillation.json`: what a distilled checkpoint can do, or one line if it is damaged."""

from pathlib import Path
from typing import Any

import pytest

from riffusion.checkpoint.distillation import PUBLISHED, Distillation, read_distillation
from riffusion.errors import CheckpointError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"max_steps": 4, "guidance": [1, 2], "guided_sampling": true}', (4, (1.0, 2.0), True)),
        (
            '{"max_steps": 4, "guidance": [1, 2], "guided_sampling": true, "solver_steps": 25}',
            (4, (1.0, 2.0), True, 25),
        ),
        (None, None),
    ],
)
def test_a_distilled_checkpoint_is_described(
    tmp_path: Path, text: str | None, expected: tuple[Any, ...] | None
) -> None:
    if text is not None:
        (tmp_path / "distillation.json").write_text(text)
    found = read_distillation(tmp_path, {"time_cond_proj_dim": 256})
    assert found == (PUBLISHED if expected is None else Distillation(*expected))
    assert read_distillation(tmp_path, {"time_cond_proj_dim": None}) is None


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"max_steps": 0, "guidance": [1, 2], "guided_sampling": true}',
        '{"max_steps": true, "guidance": [1, 2], "guided_sampling": true}',
        '{"max_steps": 8, "guidance": [2, 1], "guided_sampling": true}',
        '{"max_steps": 8, "guidance": [0.5, 2], "guided_sampling": true}',
        '{"max_steps": 8, "guidance": [1, Infinity], "guided_sampling": true}',
        '{"max_steps": 8, "guidance": 7, "guided_sampling": true}',
        '{"max_steps": 8, "guidance": [1, 2, 3], "guided_sampling": true}',
        '{"max_steps": 8, "guidance": ["a", "b"], "guided_sampling": true}',
        '{"max_steps": 8, "guidance": "19", "guided_sampling": true}',
        '{"max_steps": 8, "guidance": ["1", "9"], "guided_sampling": true}',
        '{"max_steps": 8, "guidance": [true, 9], "guided_sampling": true}',
        '{"max_steps": 8, "guidance": [1, 2], "guided_sampling": 1}',
        '{"max_steps": 8, "guidance": [1, 2], "guided_sampling": true, "solver_steps": 0}',
        '{"max_steps": 8, "guidance": [1, 2], "guided_sampling": true, "solver_steps": 12.5}',
        "not JSON",
    ],
)
def test_a_damaged_description_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "distillation.json").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        read_distillation(tmp_path, {"time_cond_proj_dim": 256})
    assert "distillation.json" in str(caught.value)
    assert "\n" not in str(caught.value)
