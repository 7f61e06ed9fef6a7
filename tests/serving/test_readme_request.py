"""The README's request, against the real server and gateway."""

import subprocess
import sys
from pathlib import Path

from riffusion.audio import num_samples, read_audio
from tests.docs.readme import python_blocks
from tests.patience import PATIENCE_S


def test_the_readmes_request_returns_a_clip(gateway_url: str, tmp_path: Path) -> None:
    code = next(block for block in python_blocks() if "run_inference" in block)
    assert "http://127.0.0.1:3013" in code
    code = code.replace("http://127.0.0.1:3013", gateway_url)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=PATIENCE_S)
    assert num_samples(read_audio(tmp_path / "clip.mp3")) == 512 * 441
