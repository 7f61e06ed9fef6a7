"""Clips by a checkpoint that takes no text, as the service's work.

They are made one after the other on one thread: their UNet calls aren't shared.
"""

import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from riffusion.audio import Audio
from riffusion.datatypes import MAX_DURATION_S, InferenceInput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.editor import OpenRecording
from riffusion.editing.error_fields import about
from riffusion.editing.limits import check_recording
from riffusion.engine import Request
from riffusion.engine.thread_request import ThreadRequest
from riffusion.engine.watchdog import Watchdog
from riffusion.errors import CheckpointError, InputError
from riffusion.generation.request_memory import LARGE_AUDIO_S, decoding, one_at_a_time
from riffusion.generation.response import output_from_clip
from riffusion.generation.unconditional import UnconditionalClip, UnconditionalGenerator
from riffusion.generation.unconditional_request import UnconditionalRequest, plan_steps
from riffusion.io.data_urls import bytes_from_data_url
from riffusion.runtime.threads import single_threaded
from riffusion.serving.model import metrics
from riffusion.serving.model.work import FinishedJob
from riffusion.unconditional_fields import UNCONDITIONAL

_ROUNDING = 1e-9
"""Steps × share above a whole number by less than this is that number."""


class UnconditionalMaker:
    """Makes clips with an `UnconditionalGenerator`; see `work.Maker`.

    Args:
        generator: makes the clips.
        open_recording: decodes the audio that requests vary.

    Raises:
        CheckpointError: the checkpoint needs encodings, which requests can't have.
    """

    max_num_running = 1

    def __init__(self, generator: UnconditionalGenerator, open_recording: OpenRecording) -> None:
        if generator.checkpoint.is_conditional:
            raise CheckpointError(
                f"{generator.checkpoint.folder} needs an encoding for each clip, which requests "
                "can't have; use `riffusion unconditional --encoding`, or serve another checkpoint"
            )
        self._generator = generator
        self._open_recording = open_recording
        self._threads = ThreadPoolExecutor(1, "unconditional")
        self._watchdog = Watchdog(time.monotonic, generator.device.type)
        self._lock = threading.Lock()
        self._num_active = 0
        self._remaining_s = 0.0

    @property
    def is_healthy(self) -> bool:
        return not self._watchdog.is_hanging

    def resolve(self, inputs: InferenceInput) -> "_UnconditionalWork":
        if inputs.mode != UNCONDITIONAL:
            raise InputError(
                f"{inputs.mode!r} needs a checkpoint that takes a prompt, and this server's is "
                f"unconditional; use mode={UNCONDITIONAL}",
                "mode",
            )
        audio = None if inputs.init_audio is None else self._decoded(inputs.init_audio)
        return _UnconditionalWork(self, self._generator, inputs, audio)

    def seconds_until_a_clip_is_done(self) -> float:
        return self._remaining_s

    def show_metrics(self) -> None:
        metrics.watch_jobs(
            num_running=lambda: min(1, self._num_active),
            num_waiting=lambda: max(0, self._num_active - 1),
        )
        if self._generator.device.type == "cuda":
            metrics.watch_gpu_memory(self._generator.device)
        metrics.show_unconditional_checkpoint()
        metrics.show_loras(())

    def _decoded(self, init_audio: str) -> Audio:
        """The audio of a request, at most a minute."""
        data = bytes_from_data_url(init_audio, "init_audio")
        with decoding("init_audio"):
            recording = self._open_recording(data, max_duration_s=MAX_DURATION_S)
        with recording:
            check_recording(recording, "init_audio")
            return Audio(recording.waveform(0, recording.num_samples), recording.sample_rate)

    def begin(
        self, handle: ThreadRequest[UnconditionalClip], clips: Iterator[UnconditionalClip]
    ) -> None:
        """Make the one clip of an iterator, when those before it are done."""

        def work() -> UnconditionalClip:
            # Beside a GPU there is little to compute on the CPU, so no OpenMP team is needed.
            on_gpu = self._generator.device.type == "cuda"
            with single_threaded() if on_gpu else nullcontext(), self._watchdog.watching():
                return next(clips)

        with self._lock:
            self._num_active += 1
        handle.outcome.add_done_callback(self._leave)
        handle.run_on(self._threads, "clip", work)

    def step_done(self, remaining_s: float) -> None:
        """The running clip has made a step; the estimate is of the steps that remain."""
        self._watchdog.next()
        self._remaining_s = remaining_s

    def _leave(self, _: object) -> None:
        with self._lock:
            self._num_active -= 1


class _UnconditionalWork:
    """One clip.

    Args:
        maker: makes it.
        generator: the maker's.
        inputs: the request.
        audio: what the clip is a variation of; None for a new clip.

    Raises:
        InputError: the checkpoint can't do it; `field` names the request's field.
    """

    takes_much_memory = False

    def __init__(
        self,
        maker: UnconditionalMaker,
        generator: UnconditionalGenerator,
        inputs: InferenceInput,
        audio: Audio | None,
    ) -> None:
        self._maker, self._inputs = maker, inputs
        self._handle: ThreadRequest[UnconditionalClip] = ThreadRequest()
        self._on_progress: ProgressCallback = lambda done, total: None
        self._first_step_s: float | None = None
        is_long = audio is not None and audio.duration_s > LARGE_AUDIO_S
        with (
            about("num_inference_steps", instead_of="steps"),
            about("start.seed", instead_of="seed"),
            about("init_audio", instead_of="from"),
            one_at_a_time(is_long),
            single_threaded(),
        ):
            request = _request(inputs, generator, has_audio=audio is not None)
            self._clips = generator.generate(request, audio, progress=self._move)

    def start(self, on_progress: ProgressCallback) -> ThreadRequest[UnconditionalClip]:
        self._on_progress = on_progress
        self._maker.begin(self._handle, self._clips)
        return self._handle

    def finish(self, handle: Request[Any]) -> FinishedJob:
        clip = handle.outcome.result()
        started = time.perf_counter()
        with single_threaded():
            output = output_from_clip(clip, self._inputs)
        audio_s = time.perf_counter() - started
        return FinishedJob(output, {**handle.stages_s, "audio": audio_s})

    def _move(self, done: int, total: int) -> None:
        self._handle.check()
        now_s = time.monotonic()
        if self._first_step_s is None:
            self._first_step_s = now_s
        step_s = (now_s - self._first_step_s) / max(1, done - 1)
        self._maker.step_done(step_s * (total - done))
        self._on_progress(done, total)


def _request(
    inputs: InferenceInput, generator: UnconditionalGenerator, *, has_audio: bool
) -> UnconditionalRequest:
    """The request in the generator's terms.

    Without `num_inference_steps` the scheduler's default number applies, as in the command.

    Raises:
        InputError: the checkpoint's noise schedule has fewer steps.
    """
    checkpoint = generator.checkpoint
    scheduler = inputs.scheduler or checkpoint.scheduler_name
    is_given = "num_inference_steps" in inputs.model_fields_set
    given = inputs.num_inference_steps if is_given else None
    steps = plan_steps(given, scheduler, checkpoint)
    start_step = None
    if has_audio:
        left_out = math.floor(steps * (1 - inputs.start.denoising) + _ROUNDING)
        start_step = min(left_out, steps - 1)
    return UnconditionalRequest(
        seed=inputs.start.seed, steps=steps, scheduler=scheduler, start_step=start_step
    )
