"""Loads what the environment names, and makes the service that runs it."""

import logging

from riffusion.audio.decoding_pool import DecodingPool
from riffusion.checkpoint.index import is_unconditional
from riffusion.checkpoint.source import CheckpointSource, find_checkpoint
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.lora_folder import LORA_FOLDER, loras_from_environment
from riffusion.generation.pipelines import choose_engine
from riffusion.io.bundle import how_to_add
from riffusion.light.sessions import share_memory
from riffusion.runtime.freed_memory import keep_loaded_objects, share_freed_memory
from riffusion.runtime.user_name import ensure_user_name
from riffusion.serving.model.clip_service import (
    ClipService,
    max_running_from_environment,
    max_waiting_from_environment,
)

logger = logging.getLogger(__name__)


def load_service(decoders: DecodingPool) -> ClipService:
    """Load the default checkpoint, of either kind, make a first clip, and start the service.

    Args:
        decoders: decode the audio of requests; started.

    Raises:
        CheckpointError: the checkpoint is missing, truncated or foreign.
        InputError: an environment variable is not valid.
    """
    ensure_user_name()
    share_freed_memory()
    source = find_checkpoint()
    if is_unconditional(source):
        service = _unconditional_service(source, decoders)
    else:
        service = _text_service(decoders)
    keep_loaded_objects()
    return service


def _text_service(decoders: DecodingPool) -> ClipService:
    if choose_engine() == "light":
        share_memory()
    generator = ClipGenerator.load(
        max_num_running=max_running_from_environment(),
        decoder=decoders.decode,
        loras=loras_from_environment(),
    )
    generator.pipeline.loras.drop_misfits(generator.pipeline.adaptable_networks)
    logger.info("serving %s", generator.checkpoint_description)
    generator.warm_up()
    return ClipService(generator, max_waiting_from_environment(), decoders.open_recording)


def _unconditional_service(source: CheckpointSource, decoders: DecodingPool) -> ClipService:
    if choose_engine() != "torch":
        raise InputError(
            f"'light' can't run {source}, which is unconditional; unset RIFFUSION_ENGINE; where "
            f"torch isn't installed, {how_to_add('torch')}",
            "engine",
        )
    if loras_from_environment():
        logger.warning("%s is left out: unconditional checkpoints take no LoRAs", LORA_FOLDER)
    from riffusion.generation.unconditional import UnconditionalGenerator

    generator = UnconditionalGenerator.open(source)
    service = ClipService(generator, max_waiting_from_environment(), decoders.open_recording)
    logger.info(
        "serving %s on %s: unconditional, %s, clips of %.2f s",
        source,
        generator.device,
        generator.checkpoint.scheduler_name,
        generator.images.clip_s,
    )
    generator.warm_up()
    return service
