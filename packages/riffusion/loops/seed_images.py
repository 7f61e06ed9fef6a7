"""Seed images: images of loops, which img2img starts from.

`python -m riffusion.loops.seed_images --output data` regenerates the files that are committed in
`data`: `seed_images/*.png`, `masks/*.png` and `manifest.json`.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from PIL import Image

from riffusion.audio.waveform import Waveform
from riffusion.loops.arrangements import ARRANGEMENTS
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.masks import BEATS, MASKS, mask_image
from riffusion.loops.rendering import find_arrangement, render_loop
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
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
    """Render one of the arrangements, and make its image.

    Args:
        style: `og_beat`, `agile`, `marim`, `motorway` or `vibes`.
        tempo_bpm: by default the arrangement's.
        beats: by default the arrangement's. The loop lasts beats · 60 / tempo_bpm seconds, rounded
            to whole frames of 10 ms.
        key: `C minor`, `F# major` …; by default the arrangement's.
        seed: seed of the noise and of the random note levels.

    Returns:
        The image, 512 high and with one pixel column per 10 ms, with the parameters and the maximum
        amplitude in its EXIF; and the seamless waveform (1, samples) float32 at 44.1 kHz.

    Raises:
        InputError: the style or key is unknown, or a number is out of range.
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
    """Image of a seamless loop; its right edge continues at its left edge.

    Args:
        waveform: (1 or 2, samples) at `params.sample_rate`; samples must be a multiple of the hop.
        params: spectrogram parameters.

    Returns:
        RGB image, samples / hop wide, with the parameters and the maximum amplitude in its EXIF.

    Raises:
        InputError: samples isn't a multiple of the hop.
    """
    return image_converter(params).spectrogram_image_from_waveform(waveform, circular=True)


@functools.lru_cache(maxsize=4)
def image_converter(params: SpectrogramParams) -> SpectrogramImageConverter:
    """A converter on the CPU, cached per parameters."""
    return SpectrogramImageConverter(params, device="cpu")


def write_seed_images(data_dir: Path) -> None:
    """Write the images of all loops, all masks, and the manifest.

    Args:
        data_dir: folder for `seed_images/`, `masks/` and `manifest.json`; existing files are
            replaced.
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
    for image_id, (description, mask_values) in MASKS.items():
        image = mask_image(mask_values())
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
    """Save an image as PNG, and return its manifest entry."""
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
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(description="Regenerate the seed images and masks.")
    parser.add_argument("--output", type=Path, required=True, help="the data directory")
    write_seed_images(parser.parse_args(arguments).output)


if __name__ == "__main__":
    main()
