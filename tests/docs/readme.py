"""What the README shows, taken apart for the tests."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def python_blocks() -> list[str]:
    """The Python examples, in order."""
    return [code for language, code in _BLOCKS if language == "python"]


def command_lines() -> list[list[str]]:
    """Arguments of every `riffusion …` line in a code block, without the comment."""
    lines = [line for language, code in _BLOCKS if not language for line in code.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("riffusion ")]
