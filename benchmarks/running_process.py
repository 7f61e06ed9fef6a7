"""Clips from a process that has loaded the embedded checkpoint, without HTTP: request in, MP3 out.

python -m benchmarks.running_process light    reads a request per line, prints seconds per stage
"""

import argparse
import json
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self, get_args

from riffusion.datatypes import InferenceInput
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.pipelines import EngineName
from riffusion.generation.response import output_from_clip

WHOLE = "whole"
"""Name of the seconds from the parsed request to the encoded answer."""


class RunningProcess:
    """Such a process; a context manager that ends it.

    Args:
        engine: draws its clips.
    """

    def __init__(self, engine: EngineName) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.running_process", engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()  # closes its input, which ends it

    def stages_s(self, request: dict[str, Any]) -> dict[str, float]:
        """Make a clip: its seconds by stage, and as `WHOLE`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found


def main(engine: EngineName) -> None:
    """Answer requests until the input ends.

    Args:
        engine: draws the clips.
    """
    generator = ClipGenerator.load(engine=engine)
    generator.warm_up()
    for line in sys.stdin:
        print(json.dumps(_stages_s(generator, json.loads(line))), flush=True)
    generator.close()


def _stages_s(generator: ClipGenerator, request: dict[str, Any]) -> dict[str, float]:
    started = time.perf_counter()
    inputs = InferenceInput.parse(request)
    resolved = generator.resolve(inputs)
    clip = generator.finish(resolved, generator.start(resolved))
    made = time.perf_counter()
    output_from_clip(clip, inputs)
    done = time.perf_counter()
    return {**clip.timings_s, "encode": done - made, WHOLE: done - started}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=get_args(EngineName))
    main(parser.parse_args().engine)
