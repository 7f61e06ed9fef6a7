"""Image to audio in WebAssembly, as the web page without a server does it, compared with Python.

    python -m benchmarks.browser_inversion

Clips of the demo checkpoint are inverted in Node, on one thread, and by Python, on all threads.
Seconds are those of all processors together, so other work on the machine counts little.
Errors are spectral convergence, ‖M - M'‖ / ‖M‖, between the image's mel amplitudes M and those of
the audio, M'. Many iterations amplify rounding, so waveforms differ more than they are wrong; the
column `Python, last bit` shows by how much Python's waveform changes if its input does in the last
bit.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from riffusion.audio import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.light.pipeline import LightPipeline
from riffusion.spectrogram.converter import FULL_SCALE, SpectrogramConverter
from riffusion.spectrogram.image import FloatArray, spectrogram_from_image
from riffusion.spectrogram.params import SpectrogramParams

WEB = Path(__file__).parents[1] / "web"
PROMPTS = ("church bells", "piano", "techno beat", "saxophone", "acoustic guitar")
REPEATS = 5
_LAST_BIT = 1e-7


@dataclasses.dataclass(frozen=True)
class BrowserInversionRow:
    """One clip of 5.12 s.

    Args:
        prompt: of the clip.
        seconds_python: median processor seconds of Python's inversion.
        seconds_web: of the web page's inversion.
        seconds_web_whole: of the same with loudness and limiter.
        error_python, error_web: spectral convergence.
        psnr_db: of the web page's waveform against Python's.
        psnr_last_bit_db: of Python's waveform, with amplitudes changed by 1e-7, against Python's.
    """

    prompt: str
    seconds_python: float
    seconds_web: float
    seconds_web_whole: float
    error_python: float
    error_web: float
    psnr_db: float
    psnr_last_bit_db: float


def measure(repeats: int = REPEATS) -> list[BrowserInversionRow]:
    """Draw the clips, and invert them both ways, one after the other."""
    pipeline = LightPipeline.from_pretrained()
    params = SpectrogramParams()
    converter = SpectrogramConverter(params)
    images = {
        prompt: pipeline(
            InferenceInput.parse(
                {"start": {"prompt": prompt, "seed": 42}, "mode": "txt2img", "preset": "balanced"}
            )
        )
        for prompt in PROMPTS
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = {
            "params": dataclasses.asdict(params),
            "repeats": repeats,
            "images": [
                {"name": prompt, "width": image.width, "height": image.height}
                for prompt, image in images.items()
            ],
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        for prompt, image in images.items():
            (folder / f"{prompt}.rgb").write_bytes(np.asarray(image.convert("RGB")).tobytes())
        environment = {**os.environ, "INVERSION_FOLDER": name}
        subprocess.run(
            ["npm", "run", "--silent", "bench"], cwd=WEB, env=environment, check=True, stdout=2
        )
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        print(f"memory: {result['memoryBytes'] / 2**20:.1f} MiB after every clip")
        rows = []
        for prompt, image in images.items():
            amplitudes = spectrogram_from_image(image, params.power_for_image) / FULL_SCALE
            amplitudes = amplitudes.astype(np.float32)
            web = np.fromfile(folder / f"{prompt}.f32", np.float32)[None]
            times = result["seconds"][prompt]
            rows.append(_row(prompt, converter, amplitudes, web, times, repeats))
    return rows


def _row(
    prompt: str,
    converter: SpectrogramConverter,
    amplitudes: FloatArray,
    web: Waveform,
    times: list[dict[str, float]],
    repeats: int,
) -> BrowserInversionRow:
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        python: Waveform = converter.waveform_from_mel_amplitudes(amplitudes)
        seconds.append(time.process_time() - started)
    noise = np.random.default_rng(0).standard_normal(amplitudes.shape)
    changed = (amplitudes * (1 + _LAST_BIT * noise)).astype(np.float32)
    return BrowserInversionRow(
        prompt=prompt,
        seconds_python=statistics.median(seconds),
        seconds_web=statistics.median(each["inversion"] for each in times),
        seconds_web_whole=statistics.median(each["whole"] for each in times),
        error_python=_error(converter, amplitudes, python),
        error_web=_error(converter, amplitudes, web),
        psnr_db=_psnr_db(python, web),
        psnr_last_bit_db=_psnr_db(python, converter.waveform_from_mel_amplitudes(changed)),
    )


def _error(converter: SpectrogramConverter, amplitudes: FloatArray, waveform: Waveform) -> float:
    found = converter.mel_amplitudes_from_waveform(waveform)[..., : amplitudes.shape[-1]]
    gain = float((found * amplitudes).sum() / np.square(found).sum())  # clips are below full scale
    return float(np.linalg.norm(amplitudes - gain * found) / np.linalg.norm(amplitudes))


def _psnr_db(expected: Waveform, found: Waveform) -> float:
    gain = np.abs(expected).max() / np.abs(found).max()
    error = np.mean(np.square(expected - gain * found))
    return float(20 * np.log10(np.abs(expected).max() / np.sqrt(error)))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    rows = measure(parser.parse_args(arguments).repeats)
    print(f"{'clip':18}{'Python':>9}{'web':>9}{'with loudness':>15}", end="")
    print(f"{'error Python':>15}{'web':>9}{'PSNR':>8}{'Python, last bit':>18}")
    for row in rows:
        print(f"{row.prompt:18}{row.seconds_python:8.2f}s{row.seconds_web:8.2f}s", end="")
        print(f"{row.seconds_web_whole:14.2f}s{row.error_python:15.5f}{row.error_web:9.5f}", end="")
        print(f"{row.psnr_db:8.1f}{row.psnr_last_bit_db:18.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
