"""Requests that edit a recording: from the request to its answer, in the service's three stages.

- `resolve`: the recording is decoded, and checked with the request.
- `start`: the edit is made on a thread of the editor; the engine draws it among the clips.
- `finish`: the edited recording is put together and encoded, on the caller's thread.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from riffusion.audio import MEDIA_TYPES as AUDIO_MEDIA_TYPES
from riffusion.audio.encoder import Encoding
from riffusion.audio.pcm import Pcm, Samples
from riffusion.audio.recording import Recording
from riffusion.datatypes import MAX_DURATION_S, AudioFormat, EditOutput, InferenceInput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.error_fields import about
from riffusion.editing.limits import check_recording
from riffusion.editing.melody_mode import opened_midi
from riffusion.editing.mode import Edit, Work
from riffusion.editing.modes import MODES
from riffusion.editing.progress import OneAfterTheOther
from riffusion.editing.spectrogram_images import spectrogram_image
from riffusion.editing.splicing import spliced, writer_like
from riffusion.engine.thread_request import ThreadRequest
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.request_memory import decoding
from riffusion.io.data_urls import bytes_from_data_url, data_url
from riffusion.io.images import MEDIA_TYPES as IMAGE_MEDIA_TYPES
from riffusion.io.images import encode_image
from riffusion.runtime.threads import single_threaded

MAX_EDITS_AT_ONCE = 4
"""Edits that compute at the same time; it bounds the memory that their sound takes together."""
_BLOCK = 2**16
"""Samples that are encoded at once."""


class OpenRecording(Protocol):
    """Decodes a request's recording: `Recording.open`, or a pool of processes."""

    def __call__(self, data: bytes, /, max_duration_s: float | None = None) -> Recording: ...


@dataclass(frozen=True, eq=False)
class ResolvedEdit:
    """A request with its recording, the field that holds it, and the work that it asks for."""

    inputs: InferenceInput
    recording: Recording
    field: str
    work: Work


class FinishedEdit(NamedTuple):
    """An answer, and the seconds that its stages took."""

    output: EditOutput
    timings_s: dict[str, float]


class EditHandle(ThreadRequest[Edit]):
    """An edit in progress.

    Args:
        resolved: the request.
    """

    def __init__(self, resolved: ResolvedEdit) -> None:
        super().__init__()
        self.resolved = resolved


class RecordingEditor:
    """Edits the recordings of requests. Several threads may use it at the same time.

    Args:
        generator: its checkpoint draws; its engine is shared with clips.
        open_recording: decodes the recordings.
    """

    def __init__(
        self, generator: ClipGenerator, open_recording: OpenRecording = Recording.open
    ) -> None:
        self._generator = generator
        self._open_recording = open_recording
        self._threads = ThreadPoolExecutor(MAX_EDITS_AT_ONCE, "edit")

    def resolve(self, inputs: InferenceInput) -> ResolvedEdit:
        """Decode a request's recording, and check the request with it. It doesn't use the model.

        Args:
            inputs: a request whose mode edits a recording.

        Raises:
            InputError: a field isn't valid, or the recording can't be decoded, or exceeds a limit;
                `field` names the request's field.
            OverloadedError: the decoder has no time for the recording.
        """
        mode = MODES[inputs.mode]
        if mode.draws(inputs):
            self._generator.check(inputs)
        mode.check(inputs)
        fields = mode.recordings(inputs)
        recording, *others = [self._opened(inputs, field) for field in fields]
        with about("audio_format"):
            like = Pcm(recording.samples(0, 0), recording.sample_rate)
            if mode.answer_format is not None:
                like = mode.answer_format(self._generator)
            Encoding.of(inputs.audio_format, like, bits=recording.bits)
        with about(fields[0]):
            work = mode.plan(inputs, recording, self._generator, *others)
        return ResolvedEdit(inputs, recording, fields[0], work)

    def _opened(self, inputs: InferenceInput, field: str) -> Recording:
        """The recording in a request's field, which `datatypes` has checked to be there."""
        if field == "init_midi":
            return opened_midi(self._generator)
        data = bytes_from_data_url(getattr(inputs, field), field)
        with decoding(field):
            recording = self._open_recording(data, max_duration_s=MAX_DURATION_S)
        check_recording(recording, field)
        return recording

    def start(self, resolved: ResolvedEdit, on_progress: ProgressCallback) -> EditHandle:
        """Begin the edit on a thread.

        Args:
            resolved: what `resolve` returned.
            on_progress: called with (steps done, total steps), from any thread.
        """
        handle = EditHandle(resolved)
        generator = self._generator.working_for(handle)
        move = OneAfterTheOther(on_progress)

        def report(done: int, total: int) -> None:
            handle.check()
            move(done, total)

        def work() -> Edit:
            with single_threaded(), about(resolved.field):
                return resolved.work(generator, report)

        handle.run_on(self._threads, "edit", work)
        return handle

    def finish(self, handle: EditHandle) -> FinishedEdit:
        """Put the edited recording together, and encode it with its image.

        Raises:
            GenerationCancelled: the edit was cancelled.
            Exception: what the edit failed with.
        """
        edit = handle.outcome.result()
        started = time.perf_counter()
        recording, inputs = handle.resolved.recording, handle.resolved.inputs
        with recording, single_threaded(), ExitStack() as opened:
            stems = {name: opened.enter_context(stem) for name, stem in edit.stems.items()}
            remarks = [remark] if (remark := edit.facts.get("remark")) else []
            made = edit.made or _put_together(recording, edit, handle, remarks.append)
            with made as result:
                audio = _encoded(result, inputs.audio_format, handle)
                from_s, to_s = edit.shown_s or (0.0, result.duration_s)
                image = spectrogram_image(result, self._generator.converter, from_s, to_s)
                duration_s = result.duration_s
            encoded_stems = {
                name: data_url(
                    _encoded(stem, inputs.audio_format, handle),
                    AUDIO_MEDIA_TYPES[inputs.audio_format],
                )
                for name, stem in stems.items()
            }
        encoded_image = encode_image(image, inputs.image_format)
        output = EditOutput(
            image=data_url(encoded_image, IMAGE_MEDIA_TYPES[inputs.image_format]),
            audio=data_url(audio, AUDIO_MEDIA_TYPES[inputs.audio_format]),
            duration_s=duration_s,
            image_from_s=from_s,
            stems=encoded_stems or None,
            **{**edit.facts, "remark": "; ".join(remarks) or None},
        )
        audio_s = time.perf_counter() - started
        return FinishedEdit(output, {**handle.stages_s, "audio": audio_s})


def _put_together(
    recording: Recording, edit: Edit, handle: EditHandle, warn: Callable[[str], None]
) -> Recording:
    """The recording that an edit's parts make."""
    blocks = _while_wanted(spliced(recording, edit.parts, warn), handle)
    return Recording.from_blocks(blocks, recording.sample_rate, recording.bits)


def _encoded(recording: Recording, format: AudioFormat, handle: EditHandle) -> bytes:
    """The file that the commands write, encoded in blocks while the edit is wanted."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"edited.{format}"
        with writer_like(recording, path) as writer:
            for block in _while_wanted(recording.blocks(_BLOCK), handle):
                writer.write(Pcm(block, recording.sample_rate))
        return path.read_bytes()


def _while_wanted(blocks: Iterator[Samples], handle: EditHandle) -> Iterator[Samples]:
    for block in blocks:
        handle.check()
        yield block
