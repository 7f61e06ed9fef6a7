"""Mode of requests `follow`: a melody, sung or as MIDI, played by the sound of a prompt."""

import numpy as np

from riffusion.audio.pcm import Pcm, samples_from_waveform
from riffusion.audio.recording import Recording
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.clipping import Clipping, remark_on_new_sound
from riffusion.editing.error_fields import about
from riffusion.editing.following import DENOISINGS, follow_closely
from riffusion.editing.limits import MAX_RESULT_S
from riffusion.editing.melody import Melody
from riffusion.editing.midi import melody_from_midi
from riffusion.editing.mode import Edit, Mode, Work
from riffusion.editing.pitch_tracking import check_tracking, melody_from_sound
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.io.data_urls import bytes_from_data_url

MAX_MIDI_BYTES = 2**18
MAX_NOTE_SECONDS = 600.0
"""Length of all notes together, which is what takes time: five voices for two minutes."""
_RELEASE_S = 0.05
"""A note takes that much longer to compute than it lasts."""
_BITS = 16


def opened_midi(generator: ClipGenerator) -> Recording:
    """A recording of one sample in the format of the answer, in place of one that isn't sent."""
    rate = generator.converter.p.sample_rate
    return Recording.from_blocks([np.zeros((1, 1), np.int16)], rate, _BITS)


def _answer_format(generator: ClipGenerator) -> Pcm:
    return Pcm(np.zeros((1, 0), np.int16), generator.converter.p.sample_rate)


def _plan_follow(inputs: InferenceInput, recording: Recording, generator: ClipGenerator) -> Work:
    notes = None if inputs.init_midi is None else _notes(inputs.init_midi)
    denoisings: tuple[float, ...] = DENOISINGS
    if "denoising" in inputs.start.model_fields_set:
        denoisings = (inputs.start.denoising,)
    if notes is None:
        with about("init_audio"):
            check_tracking()

    def work(generator: ClipGenerator, progress: ProgressCallback) -> Edit:
        melody = _sung(recording) if notes is None else notes
        best = follow_closely(melody, generator, inputs, denoisings, progress)
        made = Recording.from_blocks(
            [samples_from_waveform(best.waveform)],
            generator.converter.p.sample_rate,
            _BITS,
        )
        clipping = Clipping()
        clipping.add(best.waveform)
        share = None if best.agreement is None else best.agreement.share
        facts = {
            "pitch_agreement": share,
            "denoising": best.denoising,
            "remark": remark_on_new_sound(clipping),
        }
        return Edit(facts=facts, made=made)

    return work


def _notes(text: str) -> Melody:
    """The melody of a request's MIDI file.

    Raises:
        InputError: it isn't one, is too large, too long, or has too many notes; `field` is
            `init_midi`.
    """
    data = bytes_from_data_url(text, "init_midi")
    if len(data) > MAX_MIDI_BYTES:
        raise InputError(
            f"{len(data)} bytes of MIDI; at most {MAX_MIDI_BYTES} are allowed, so send a shorter "
            "part",
            "init_midi",
        )
    with about("init_midi", instead_of="melody"):
        melody = melody_from_midi(data)
    note_seconds = sum(voice.end_s - voice.start_s + _RELEASE_S for voice in melody.voices)
    if melody.duration_s > MAX_RESULT_S or note_seconds > MAX_NOTE_SECONDS:
        raise InputError(
            f"the melody lasts {melody.duration_s:.1f} s, and its {len(melody.voices)} notes "
            f"{note_seconds:.0f} s together; at most {MAX_RESULT_S:g} s and {MAX_NOTE_SECONDS:g} s "
            "are played for a request, so send a shorter part, or fewer voices",
            "init_midi",
        )
    return melody


def _sung(recording: Recording) -> Melody:
    with about("init_audio", instead_of="melody"):
        return melody_from_sound(
            recording.waveform(0, recording.num_samples), recording.sample_rate
        )


FOLLOW = Mode(
    _plan_follow,
    recordings=lambda inputs: ("init_audio",) if inputs.init_midi is None else ("init_midi",),
    answer_format=_answer_format,
)
