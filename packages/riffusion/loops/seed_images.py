"""Seed images: images of loops that img2img starts from.

`python -m riffusion.loops.seed_images --output data` composes, renders and draws all that is
committed in `data`: `seed_images/*.png`, `masks/*.png` and `manifest.json`.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from riffusion.audio.waveform import Waveform
from riffusion.loops.arrangements import ARRANGEMENTS
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.masks import BEATS, MASKS, mask_image
from riffusion.loops.rendering import find_arrangement, render_loop
from riffusion.spectrogram.converter import FULL_SCALE, SpectrogramConverter
from riffusion.spectrogram.image import FloatArray, image_from_spectrogram
from riffusion.spectrogram.params import SpectrogramParams

_LOOP_ORIGIN = "composed and rendered by riffusion.loops.arrangements, no samples used"
_MASK_ORIGIN = "drawn by riffusion.loops.masks"
_LICENCE = "MIT"


def make_seed_image(
    style: str,
    *,
    tempo_bpm: float | None = None,
    beats: int | None = None,
    key: str | None = None,
    seed: int = 0,
) -> tuple[Image.Image, Waveform]:
    """Play one of our arrangements, and draw it.

    Args:
        style: `og_beat`, `agile`, `marim`, `motorway` or `vibes`.
        tempo_bpm: default the arrangement's own.
        beats: default the arrangement's own. The loop lasts beats · 60 / tempo_bpm seconds,
            rounded to whole columns of 10 ms.
        key: `C minor`, `F# major` …; default the arrangement's own.
        seed: of the noises, and of the notes' small differences in level.

    Returns:
        The image, 512 high and a column wide for every 10 ms, with parameters and maximum in its
        EXIF, and the seamless waveform (1, samples) float32 at 44.1 kHz.

    Raises:
        InputError: an unknown style or key, or a number out of range.
    """
    arrangement = find_arrangement(style)
    params = SpectrogramParams()
    grid = LoopGrid.fit(
        arrangement.beats if beats is None else beats,
        arrangement.tempo_bpm if tempo_bpm is None else tempo_bpm,
        params,
    )
    waveform = render_loop(
        arrangement, grid, Key.parse(arrangement.key if key is None else key), seed
    )
    return loop_image(waveform, params), waveform


def loop_image(waveform: Waveform, params: SpectrogramParams) -> Image.Image:
    """Image of a seamless loop, whose right edge goes on at its left.

    Args:
        waveform: (1 or 2, samples) at `params.sample_rate`; samples a multiple of the hop.
        params: of the image.

    Returns:
        RGB, samples / hop wide, with parameters and maximum in its EXIF.
    """
    return image_with_params(circular_mel_amplitudes(waveform, params), params)


def image_with_params(amplitudes: FloatArray, params: SpectrogramParams) -> Image.Image:
    """Image of mel amplitudes (channels, frequency, time), with EXIF that any copy keeps."""
    image = image_from_spectrogram(amplitudes, power=params.power_for_image)
    exif = image.getexif()
    exif.update(params.to_exif(max_value=float(amplitudes.max())))
    image.info["exif"] = exif.tobytes()
    return image


def circular_mel_amplitudes(waveform: Waveform, params: SpectrogramParams) -> FloatArray:
    """Mel amplitudes of a loop, as if it were played for ever.

    Args:
        waveform: (channels, samples) in [-1, 1]; samples a multiple of the hop.
        params: of the spectrogram.

    Returns:
        (channels, frequency, samples / hop) float32, amplitudes of 16-bit samples.
    """
    hop = params.hop_length
    num_columns = waveform.shape[-1] // hop
    margin_columns = params.n_fft // (2 * hop) + 1  # half an FFT looks back and ahead
    positions = np.arange(-margin_columns * hop, (num_columns + margin_columns) * hop)
    extended = np.take(waveform, positions, axis=-1, mode="wrap") * FULL_SCALE
    mel = _converter(params).mel_amplitudes_from_waveform(torch.from_numpy(extended))
    amplitudes: FloatArray = mel[..., margin_columns : margin_columns + num_columns].numpy()
    return amplitudes


@functools.lru_cache(maxsize=4)
def _converter(params: SpectrogramParams) -> SpectrogramConverter:
    return SpectrogramConverter(params, device="cpu")


def write_seed_images(data_dir: Path) -> None:
    """Write all loops and masks as PNG, and the manifest.

    Args:
        data_dir: receives `seed_images/`, `masks/` and `manifest.json`; files of the same names
            are replaced.
    """
    entries = []
    for image_id, arrangement in ARRANGEMENTS.items():
        image, _ = make_seed_image(image_id)
        facts = {
            "tempo_bpm": arrangement.tempo_bpm,
            "beats": arrangement.beats,
            "key": arrangement.key,
            "origin": _LOOP_ORIGIN,
        }
        entries.append(_write(data_dir, "seed_image", image_id, image) | facts)
    for image_id, (description, draw) in MASKS.items():
        image = mask_image(draw())
        facts = {
            "tempo_bpm": None,
            "beats": BEATS if "beat" in image_id else None,
            "key": None,
            "description": description,
            "origin": _MASK_ORIGIN,
        }
        entries.append(_write(data_dir, "mask", image_id, image) | facts)
    for entry in entries:
        entry["licence"] = _LICENCE
    manifest = {
        "made_by": "python -m riffusion.loops.seed_images --output data",
        "spectrogram_params": dataclasses.asdict(SpectrogramParams()),
        "images": entries,
    }
    text = json.dumps(manifest, indent=2)
    (data_dir / "manifest.json").write_text(text + "\n", encoding="utf-8")


def _write(data_dir: Path, kind: str, image_id: str, image: Image.Image) -> dict[str, Any]:
    """Save an image; what the manifest says of its file."""
    path = data_dir / f"{kind}s" / f"{image_id}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=image.info.get("exif", b""), optimize=True)
    return {
        "id": image_id,
        "kind": kind,
        "file": path.relative_to(data_dir).as_posix(),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "width": image.width,
        "height": image.height,
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Regenerate the seed images and masks.")
    parser.add_argument("--output", type=Path, required=True, help="the data directory")
    write_seed_images(parser.parse_args(arguments).output)


if __name__ == "__main__":
    main()
