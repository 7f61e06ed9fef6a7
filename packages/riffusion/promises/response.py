"""Promised clips to answers of the inference API."""

from riffusion.datatypes import InferenceInput, InferenceOutput, PromisedOutput
from riffusion.generation.response import output_from_clip
from riffusion.promises.drawing import PromisedClip
from riffusion.promises.remarks import remarks


def output_from_promised(made: PromisedClip, inputs: InferenceInput) -> InferenceOutput:
    """The answer with a clip; with what is heard in it, if something was promised."""
    output = output_from_clip(made.clip, inputs)
    if made.fit is None:
        return output
    hearing = made.fit.hearing
    error = made.tempo_error_percent
    return PromisedOutput(
        **output.model_dump(),
        tempo_error_percent=None if error is None else round(error, 3),
        key=None if hearing.key is None else hearing.key.key.name,
        downbeats_s=None if error is None or not hearing.downbeats_s else [*hearing.downbeats_s],
        remarks=remarks(made),
    )
