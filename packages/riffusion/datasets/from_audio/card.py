"""The data-set card: origin of the images, and how they were made."""

from riffusion.datasets.card import PARAMETERS, front_matter
from riffusion.datasets.from_audio.options import BuildOptions
from riffusion.datasets.from_audio.report import BuildReport


def card_text(options: BuildOptions, report: BuildReport) -> str:
    """Text of `README.md`, with the front matter."""
    slices = options.slices
    params, width = slices.image.params, slices.image.width
    mode = "left in green and right in blue" if params.stereo else "grey"
    length = (
        f"{slices.image.duration_s:.6g} s"
        if slices.beats is None
        else f"{slices.beats} beats, resized in time to the same width"
    )
    counts = "\n".join(
        f"| {split} | {report.num_images[split]} | {report.num_files[split]} |"
        for split in ("train", "validation")
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(report.left_out.items()))
    frame_ms = 1000 * params.hop_length / params.sample_rate
    tempo = " `tempo_bpm` is the tempo of its beats." if slices.beats is not None else ""
    return f"""{front_matter("other")}
# Recordings as spectrogram images

| split | images | recordings |
|---|---|---|
{counts}

Each image is {width}×{params.num_frequencies}, {mode}, and shows {length}: one frame every
{frame_ms:.4g} ms, one row per mel band from {params.min_frequency} to {params.max_frequency} Hz.
{PARAMETERS} All slices of a recording are
in one split. Left out: {reasons or "nothing"}; {len(report.failures)} files could not be used.

## Columns
`text` is the caption, `captions` has all alternatives. `label` and `kind` name the sound, where
known. `source` is the recording's file, `start_s` the position of the slice in it.{tempo}

## Origin and licence
Made by `riffusion dataset build`; `dataset.json` has the options. The images are copies of the
recordings in another form, so the licences of the recordings apply to them: name them here and in
the front matter before you share this data set.
"""
