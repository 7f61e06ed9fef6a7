"""Follow: a melody played by the sound that a text asks for.

melody ─▶ harmonic tones ─▶ mel amplitudes ─▶ canvas, denoised in part ─▶ sound
"""

from collections.abc import Iterator

from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.pipeline import ProgressCallback
from riffusion.editing.melody import Melody, sound_of
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.remaking import PromptAtFrame, remade
from riffusion.editing.sound import SoundInMemory
from riffusion.editing.surroundings import Section
from riffusion.generation.generator import ClipGenerator


def follow(
    melody: Melody,
    generator: ClipGenerator,
    inputs: InferenceInput,
    on_progress: ProgressCallback | None = None,
) -> Iterator[Waveform]:
    """Play a melody. The diffusion runs before the first part comes.

    Args:
        melody: any length up to its own limit.
        generator: its checkpoint plays.
        inputs: prompt, seed, negative prompt, denoising, guidance, scheduler and steps, of its
            start. The less denoising, the more exactly the pitches are kept.
        on_progress: called with (steps done, number of steps); what it raises ends the work.

    Yields:
        (1, samples) at the rate of the generator's converter, as long as the melody in whole
        frames.

    Raises:
        InputError: an invalid request, or a checkpoint in stereo.
    """
    generator.check(inputs)
    axis = ModelAxis(SoundInMemory(sound_of(melody)), generator.converter)
    whole = Section(0, axis.num_frames, continues_before=False, continues_after=False)
    prompts = [PromptAtFrame(0, inputs.start.prompt)]
    return remade(axis, generator, inputs, prompts, whole, on_progress)
