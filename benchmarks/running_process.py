"""Clips from a process that has loaded the embedded checkpoint, without HTTP: request in, MP3 out.

python -m benchmarks.running_process light    reads a request per line, prints seconds per stage
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

from riffusion.datatypes import InferenceInput
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.pipelines import EngineName
from riffusion.generation.response import output_from_clip

WHOLE = "whole"
"""Name of the seconds from the parsed request to the encoded answer."""


@contextmanager
def running_process(engine: EngineName) -> Iterator[Callable[[dict[str, Any]], dict[str, float]]]:
    """Start such a process; it ends with the block.

    Args:
        engine: draws its clips.

    Yields:
        A function that makes the clip of a request: its seconds by stage, and as `WHOLE`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.running_process", engine],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def stages_s(request: dict[str, Any]) -> dict[str, float]:
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps(request), file=process.stdin, flush=True)
        found: dict[str, float] = json.loads(process.stdout.readline())
        return found

    try:
        yield stages_s
    finally:
        process.communicate()  # closes its input, which ends it


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
