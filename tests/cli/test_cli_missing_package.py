"""Commands of an extra that is not installed say in one line how to install it."""

import subprocess
import sys
from pathlib import Path

import pytest

from riffusion.io.bundle import how_to_add

CODE = """
import sys
sys.modules[sys.argv[1]] = None  # as if it were not installed
from riffusion.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("truss", "serve --port 18080 --gateway-port 13013", "serve"),
        ("uvicorn", "serve --endpoint http://127.0.0.1:1", "serve"),
        ("httpx", "predict -f request.json -o clip.mp3", "serve"),
        ("yaml", "train run.yaml", "train"),
        ("torch", "unconditional folder -o a.wav", "torch"),
    ],
)
def test_a_missing_module_is_named_with_the_remedy(
    module: str, command: str, extra: str, tmp_path: Path
) -> None:
    (tmp_path / "request.json").write_text('{"start": {"prompt": "bells"}}')
    (tmp_path / "run.yaml").write_text("task: autoencoder")
    done = subprocess.run(
        [sys.executable, "-c", CODE, module, *command.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: the module {module} is not installed")
    assert f"pip install 'riffusion-truss[{extra}]'" in line


def test_modules_of_no_extra_get_all_that_commands_use() -> None:
    assert "[torch]" in how_to_add("torch.nn")
    assert "[serve,train]" in how_to_add("something_else")
