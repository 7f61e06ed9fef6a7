"""Clips and edits by a checkpoint that takes prompts, as the service's work."""

import time
from dataclasses import dataclass
from typing import Any

from riffusion.datatypes import InferenceInput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.editor import EditHandle, OpenRecording, RecordingEditor, ResolvedEdit
from riffusion.editing.modes import MODES
from riffusion.engine import Request, RequestHandle
from riffusion.generation.generator import ClipGenerator
from riffusion.promises import drawing
from riffusion.promises.response import output_from_promised
from riffusion.serving.model import metrics
from riffusion.serving.model.work import FinishedJob, Work

_MANY_FRAMES = 2000
"""The memory of clips with more frames is returned to the system. It grows with their number."""


class TextMaker:
    """Makes clips and edits with a `ClipGenerator`; see `work.Maker`.

    Args:
        generator: makes the clips; whoever made it closes it.
        open_recording: decodes the recordings that requests edit.
    """

    def __init__(self, generator: ClipGenerator, open_recording: OpenRecording) -> None:
        self._generator = generator
        self._editor = RecordingEditor(generator, open_recording)

    @property
    def max_num_running(self) -> int:
        return self._generator.engine.max_num_running

    @property
    def is_healthy(self) -> bool:
        return self._generator.engine.is_healthy

    def resolve(self, inputs: InferenceInput) -> Work:
        if inputs.mode in MODES:
            return _EditWork(self._editor, self._editor.resolve(inputs))
        return _ClipWork(self._generator, drawing.resolve(self._generator, inputs))

    def seconds_until_a_clip_is_done(self) -> float:
        return self._generator.engine.seconds_until_an_image_is_done()

    def show_metrics(self) -> None:
        metrics.watch_engine(self._generator.engine)
        pipeline = self._generator.pipeline
        metrics.show_checkpoint(pipeline.distillation)
        metrics.show_loras(pipeline.loras.ids)
        if pipeline.unet_graphs is not None:
            metrics.watch_graphs(pipeline.unet_graphs)
        if pipeline.device.type == "cuda":
            metrics.watch_gpu_memory(pipeline.device)
        metrics.watch_cache("embeddings", pipeline.embedding_cache)
        metrics.watch_cache("latents", pipeline.latent_cache)
        metrics.watch_cache("masks", pipeline.mask_cache)
        metrics.watch_cache("loras", pipeline.loras.merged)


class _ClipWork:
    """A clip, which is drawn again if it isn't as promised."""

    def __init__(self, generator: ClipGenerator, promised: drawing.PromisedInput) -> None:
        self._generator = generator
        self._draws = drawing.Draws(promised)

    @property
    def takes_much_memory(self) -> bool:
        clip = self._draws.first.resolved
        image = clip.init_image
        num_frames = image.width if image is not None else (clip.inputs.duration_s or 0) * 100
        return clip.encoded_image is not None or num_frames > _MANY_FRAMES

    def start(self, on_progress: ProgressCallback) -> RequestHandle:
        return self._generator.start(self._draws.resolved, on_progress)

    def finish(self, handle: Request[Any]) -> FinishedJob | None:
        assert isinstance(handle, RequestHandle)
        clip = self._generator.finish(self._draws.resolved, handle)
        made = self._draws.add(self._generator, clip)
        if made is None:
            return None
        started = time.perf_counter()
        output = output_from_promised(made, self._draws.inputs)
        encode_s = time.perf_counter() - started
        return FinishedJob(output, {**made.clip.timings_s, "encode": encode_s})


@dataclass(frozen=True, eq=False)
class _EditWork:
    """An edit of a recording."""

    editor: RecordingEditor
    resolved: ResolvedEdit

    @property
    def takes_much_memory(self) -> bool:
        return self.resolved.recording.duration_s * 100 > _MANY_FRAMES

    def start(self, on_progress: ProgressCallback) -> EditHandle:
        return self.editor.start(self.resolved, on_progress)

    def finish(self, handle: Request[Any]) -> FinishedJob:
        assert isinstance(handle, EditHandle)
        return FinishedJob(*self.editor.finish(handle))
