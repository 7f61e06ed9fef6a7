"""Mel to waveform: ours compared with the published system's algorithm, on two threads.

    python -m benchmarks.published_inversion

The published system fits a spectrogram to the mel amplitudes by 200 iterations of gradient descent
(learning rate 0.1, momentum 0.9, negative values clamped), like torchaudio's `InverseMelScale` at
the time, followed by the same Griffin-Lim. Signals and quality are those of `benchmarks.inversion`.
"""

import argparse
import dataclasses
import statistics
import time

import torch

from benchmarks import results
from benchmarks.inversion import NUM_THREADS, Inverter, convergence, griffin_lim, targets
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.filterbank import mel_filterbank
from riffusion.spectrogram.params import SpectrogramParams

REPEATS = 1
ITERATIONS = 200
RATE, MOMENTUM = 0.1, 0.9


@dataclasses.dataclass(frozen=True)
class PublishedInversionRow:
    """One signal: median seconds, and spectral convergence of the mel amplitudes."""

    signal: str
    seconds_ours: float
    seconds_published: float
    speedup: float
    mel_ours: float
    mel_published: float


def published_inverter(params: SpectrogramParams) -> Inverter:
    """Mel amplitudes (1, frequency, time) to a waveform (1, samples)."""
    filterbank = torch.from_numpy(mel_filterbank(params))
    to_waveform = griffin_lim(params)

    def invert(mel: torch.Tensor) -> torch.Tensor:
        wanted = mel[0].T
        found = torch.rand(len(wanted), len(filterbank), requires_grad=True)
        optimizer = torch.optim.SGD([found], lr=RATE, momentum=MOMENTUM)
        for _ in range(ITERATIONS):
            optimizer.zero_grad()
            loss = (wanted - found @ filterbank).square().sum(dim=-1).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            found.data.clamp_(min=0)
        waveform: torch.Tensor = to_waveform(found.detach().T[None])
        return waveform

    return invert


def measure(repeats: int = REPEATS) -> list[PublishedInversionRow]:
    """Invert each synthetic signal with both, alternately."""
    torch.set_num_threads(NUM_THREADS)
    torch.manual_seed(0)
    params = SpectrogramParams()
    inverters = {
        "ours": SpectrogramConverter(params, "cpu").waveform_from_mel_amplitudes,
        "published": published_inverter(params),
    }
    rows = []
    for signal, target in targets(params).items():
        inverters["ours"](target)  # warms up
        seconds: dict[str, list[float]] = {name: [] for name in inverters}
        quality = {}
        for _ in range(repeats):
            for name, invert in inverters.items():
                started = time.perf_counter()
                waveform = invert(target)
                seconds[name].append(time.perf_counter() - started)
                quality[name] = convergence(target, waveform, params)[0]
        ours, published = (statistics.median(seconds[name]) for name in inverters)
        rows.append(
            PublishedInversionRow(
                signal, ours, published, published / ours, quality["ours"], quality["published"]
            )
        )
        print(f"{signal}: {rows[-1].speedup:.0f}×", flush=True)
    return rows


def markdown(rows: list[PublishedInversionRow]) -> str:
    """The rows as a table."""
    lines = [
        "| signal | seconds, ours | published | speedup | mel SC, ours | published |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.signal} | {row.seconds_ours:.2f} | {row.seconds_published:.2f} "
        f"| **{row.speedup:.0f}×** | {row.mel_ours:.3f} | {row.mel_published:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and save the result."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    rows = measure()
    results.save("published_inversion", rows, markdown(rows))


if __name__ == "__main__":
    main()
