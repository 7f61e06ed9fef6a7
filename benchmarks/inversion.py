"""Mel to waveform: ours compared with torchaudio's modules, in one process with two threads.

    python -m benchmarks.inversion [--song FILE] [--checkpoint DIR]

Theirs is `InverseMelScale` and `GriffinLim` of 32 iterations with momentum 0.99 at the
spectrogram's FFT size of 17640 samples. Both alternately invert one 5.12 s mono clip at the default
parameters. Quality is spectral convergence, ‖M - g·M'‖ / ‖M‖ with the best gain g, between the mel
amplitudes M and those of the result, M'; and the same of M ^ 0.25, which is what an image shows and
which gives quiet bands as much weight as loud ones. Lower is better.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchaudio

from benchmarks import results
from benchmarks.signals import SIGNALS
from riffusion.audio import convert, read_audio, waveform_from_segment
from riffusion.datatypes import InferenceInput, PromptInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.image import spectrogram_from_image
from riffusion.spectrogram.params import SpectrogramParams

FIGURE = Path(__file__).parents[1] / "docs" / "images" / "inversion_comparison.png"
NUM_FRAMES = 512
REPEATS = 3
NUM_THREADS = 2
PROMPTS = ("church bells", "piano", "techno beat", "saxophone")

Inverter = Callable[[torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class InversionRow:
    """One signal: median seconds, and spectral convergence of the mel amplitudes and of the image.

    Field names are keys of results/inversion.json.
    """

    signal: str
    seconds_ours: float
    seconds_theirs: float
    speedup: float
    mel_ours: float
    mel_theirs: float
    picture_ours: float
    picture_theirs: float


def targets(
    params: SpectrogramParams, song: Path | None = None, checkpoint: Path | None = None
) -> dict[str, torch.Tensor]:
    """Mel amplitudes (1, frequency, time) of every signal.

    Args:
        params: spectrogram parameters.
        song: a recording to add; None adds none.
        checkpoint: a checkpoint whose images are added; None adds none.
    """
    converter = SpectrogramConverter(params, "cpu")
    num_samples = params.num_samples(NUM_FRAMES)
    waveforms = {
        name: make(params.sample_rate, num_samples / params.sample_rate)[None]
        for name, make in SIGNALS.items()
    }
    if song is not None:
        segment = convert(read_audio(song), sample_rate=params.sample_rate, channels=1)
        waveforms = {"song": torch.from_numpy(waveform_from_segment(segment))} | waveforms
    mels = {
        name: converter.mel_amplitudes_from_waveform(waveform[:, :num_samples])[..., :NUM_FRAMES]
        for name, waveform in waveforms.items()
    }
    if checkpoint is None:
        return mels
    pipeline = RiffusionPipeline.from_pretrained(checkpoint, device="cpu")
    for prompt in PROMPTS:
        start = PromptInput(prompt=prompt, seed=42, guidance=4.0)
        inputs = InferenceInput.parse(
            {"start": start, "mode": "txt2img", "num_inference_steps": 20}
        )
        image = spectrogram_from_image(pipeline.riffuse(inputs), params.power_for_image)
        mels[f'image of "{prompt}"'] = torch.from_numpy(image / 2**15)
    return mels


def torchaudio_inverter(params: SpectrogramParams) -> Inverter:
    """Torchaudio's modules, chained as in upstream."""
    inverse_mel = torchaudio.transforms.InverseMelScale(
        n_stft=params.n_fft // 2 + 1,
        n_mels=params.num_frequencies,
        sample_rate=params.sample_rate,
        f_min=params.min_frequency,
        f_max=params.max_frequency,
        norm=params.mel_scale_norm,
        mel_scale=params.mel_scale_type,
    )
    to_waveform = griffin_lim(params)
    return lambda mel: to_waveform(inverse_mel(mel))


def griffin_lim(params: SpectrogramParams) -> torchaudio.transforms.GriffinLim:
    """Torchaudio's Griffin-Lim with the published system's settings."""
    return torchaudio.transforms.GriffinLim(
        n_fft=params.n_fft,
        n_iter=32,
        win_length=params.win_length,
        hop_length=params.hop_length,
        power=1.0,
        momentum=0.99,
    )


def convergence(
    target: torch.Tensor, waveform: torch.Tensor, params: SpectrogramParams
) -> tuple[float, float]:
    """Spectral convergence of the mel amplitudes, and of the image."""
    mel = SpectrogramConverter(params, "cpu").mel_amplitudes_from_waveform(waveform)
    frames = min(mel.shape[-1], target.shape[-1])
    mel, target = mel[..., :frames], target[..., :frames]
    mel = mel * ((mel * target).sum() / mel.square().sum())

    def distance(power: float) -> float:
        return float((target**power - mel**power).norm() / (target**power).norm())

    return distance(1.0), distance(params.power_for_image)


def measure(
    song: Path | None, checkpoint: Path, repeats: int = REPEATS
) -> tuple[list[InversionRow], dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """Measure; returns the rows, and (target, theirs, ours) as mel amplitudes per signal."""
    torch.set_num_threads(NUM_THREADS)
    params = SpectrogramParams()
    converter = SpectrogramConverter(params, "cpu")
    inverters = {
        "ours": converter.waveform_from_mel_amplitudes,
        "theirs": torchaudio_inverter(params),
    }
    rows, spectrograms = [], {}
    for signal, target in targets(params, song, checkpoint).items():
        inverters["ours"](target)  # warms up
        seconds: dict[str, list[float]] = {name: [] for name in inverters}
        waveforms = {}
        for _ in range(repeats):
            for name, invert in inverters.items():
                started = time.perf_counter()
                waveforms[name] = invert(target)
                seconds[name].append(time.perf_counter() - started)
        median = {name: statistics.median(times) for name, times in seconds.items()}
        mel_ours, image_ours = convergence(target, waveforms["ours"], params)
        mel_theirs, image_theirs = convergence(target, waveforms["theirs"], params)
        rows.append(
            InversionRow(
                signal,
                median["ours"],
                median["theirs"],
                median["theirs"] / median["ours"],
                mel_ours,
                mel_theirs,
                image_ours,
                image_theirs,
            )
        )
        ours, theirs = (
            converter.mel_amplitudes_from_waveform(waveforms[name]) for name in ("ours", "theirs")
        )
        spectrograms[signal] = (target, theirs, ours)
        print(f"{signal}: {rows[-1].speedup:.1f}×", flush=True)
    return rows, spectrograms


def markdown(rows: list[InversionRow]) -> str:
    """The rows as a table."""
    lines = [
        "| signal | seconds, ours | torchaudio | speedup | mel SC, ours | torchaudio "
        "| image SC, ours | torchaudio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.signal} | {row.seconds_ours:.2f} | {row.seconds_theirs:.2f} "
        f"| **{row.speedup:.1f}×** | {row.mel_ours:.3f} | {row.mel_theirs:.3f} "
        f"| {row.picture_ours:.3f} | {row.picture_theirs:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def draw(
    spectrograms: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]], path: Path
) -> None:
    """Draw original, torchaudio's and our spectrogram per signal in one row, on one dB scale."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(spectrograms), 3, figsize=(13, 3 * len(spectrograms)), squeeze=False, sharex=True
    )
    for line, (signal, columns) in zip(axes, spectrograms.items(), strict=True):
        loudest = columns[0].max()
        for axis, mel, title in zip(line, columns, ("original", "torchaudio", "ours"), strict=True):
            gain = (mel[..., : columns[0].shape[-1]].norm() / columns[0].norm()).clamp(min=1e-9)
            level_db = 20 * torch.log10((mel[0] / gain / loudest).clamp(min=1e-5))
            image = axis.imshow(
                level_db, origin="lower", aspect="auto", vmin=-80, vmax=0, cmap="magma",
                extent=(0, mel.shape[-1] / 100, 0, mel.shape[-2]),
            )  # fmt: skip
            axis.set_title(f"{signal}: {title}", fontsize=10)
        line[0].set_ylabel("mel band (0 to 10 kHz)")
        figure.colorbar(image, ax=line.tolist(), label="dB", fraction=0.02, pad=0.01)
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    figure.savefig(path, dpi=80, bbox_inches="tight")


def main() -> None:
    """Measure, save the result, and draw the first three signals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--song", type=Path, help="a recording, of which 5.12 s are used")
    parser.add_argument("--checkpoint", type=Path, default=Path("data/demo-checkpoint"))
    options = parser.parse_args()
    rows, spectrograms = measure(options.song, options.checkpoint)
    draw(dict(list(spectrograms.items())[:3]), FIGURE)
    results.save("inversion", rows, markdown(rows))


if __name__ == "__main__":
    main()
