"""Continuous batching: many requests share the UNet calls of one pipeline.

engine    the thread that owns the model, and what other threads ask of it
job_queue a step: schedule, run one UNet call, postprocess
calls     repeats calls that fail, on halves; limits of calls that ran out of memory
failures  what requests end with that fail
model     what the engine needs of a pipeline
watchdog  finds out whether the thread still makes progress
request   what the caller holds: the future image, timings, `cancel`
"""

from riffusion.engine.engine import Engine
from riffusion.engine.request import Request, RequestHandle

__all__ = ["Engine", "Request", "RequestHandle"]
