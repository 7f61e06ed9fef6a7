"""Modes of requests that take a recording apart: `stems` and `remix`."""

import tempfile
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from riffusion.audio.recording import Recording
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.prompt_weights import parse_prompt_weights
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.limits import check_stems
from riffusion.editing.mode import Edit, Mode, Work
from riffusion.editing.progress import counted
from riffusion.editing.restyled_stems import Restyle, restyled_remix
from riffusion.editing.restyling import restyle
from riffusion.editing.separation import SpectralSeparator
from riffusion.editing.splicing import Kept, Part
from riffusion.editing.stems import remixed, write_stems
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator


def _plan_stems(inputs: InferenceInput, recording: Recording, generator: ClipGenerator) -> Work:
    check_stems(recording, len(SpectralSeparator.names))

    def work(generator: ClipGenerator, progress: ProgressCallback) -> Edit:
        with tempfile.TemporaryDirectory(prefix="riffusion-stems-") as folder:
            paths = {name: Path(folder) / f"{name}.wav" for name in SpectralSeparator.names}
            write_stems(recording, SpectralSeparator(), paths, progress)
            stems = {name: Recording.open(path) for name, path in paths.items()}
        return Edit([Kept(0, recording.num_samples)], stems=stems)

    return work


def _plan_remix(inputs: InferenceInput, recording: Recording, generator: ClipGenerator) -> Work:
    gains = _factors(inputs)

    def work(generator: ClipGenerator, progress: ProgressCallback) -> Edit:
        separator = SpectralSeparator()
        restyles: dict[str, Restyle] = {
            name: partial(_restyled, generator, inputs, prompt, progress)
            for name, prompt in (inputs.restyle or {}).items()
        }
        remarks: list[str] = []
        blocks = (
            restyled_remix(recording, separator, restyles, gains, remarks.append)
            if restyles
            else remixed(recording, separator, gains, warn=remarks.append)
        )
        with closing(blocks):
            mixed = counted(blocks, recording.num_samples, progress)
            made = Recording.from_blocks(mixed, recording.sample_rate, recording.bits)
        return Edit(made=made, facts={"remark": "; ".join(remarks) or None})

    return work


def _restyled(
    generator: ClipGenerator,
    inputs: InferenceInput,
    prompt: str,
    progress: ProgressCallback,
    stem: Recording,
) -> list[Part]:
    start = inputs.start.model_copy(update={"prompt": prompt})
    drawn = inputs.model_copy(update={"start": start, "end": start})
    return restyle(stem, generator, drawn, on_progress=progress)


def _check_remix(inputs: InferenceInput) -> None:
    """Check the stems of a remix.

    Raises:
        InputError: nothing is changed, a stem is muted and changed, or a weight in a prompt is out
            of range.
    """
    restyles, muted = inputs.restyle or {}, set(inputs.mute)
    if not (inputs.gain_db or restyles or muted):
        raise InputError(
            "name a stem to change: gain_db={'drums': 6}, mute=['bass'] or "
            "restyle={'harmonic': 'choir'}",
            "gain_db",
        )
    for field, names in (("gain_db", inputs.gain_db or {}), ("restyle", restyles)):
        if in_vain := next((name for name in names if name in muted), None):
            raise InputError(f"{in_vain!r} is muted, too; leave out one of the two", field)
    for name, prompt in restyles.items():
        if not prompt.strip():
            raise InputError(
                "the text is empty; say what the stem should sound like", f"restyle.{name}"
            )
        try:
            parse_prompt_weights(prompt)
        except InputError as error:
            raise InputError(str(error), f"restyle.{name}") from None


def _factors(inputs: InferenceInput) -> Mapping[str, float]:
    """Factors of the stems' amplitudes, by name."""
    factors: dict[str, float] = dict.fromkeys(inputs.mute, 0.0)
    factors |= {name: 10 ** (gain_db / 20) for name, gain_db in (inputs.gain_db or {}).items()}
    return factors


STEMS = Mode(_plan_stems, draws=lambda inputs: False)
REMIX = Mode(_plan_remix, _check_remix, draws=lambda inputs: bool(inputs.restyle))
