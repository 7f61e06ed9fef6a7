"""The valid requests of the soak: small clips and edits, whose solo answers are known."""

from tests.fuzz.one_of_each import Request, recording


def clips() -> list[Request]:
    """Requests for clips, each with an answer that is always the same."""
    bells = {"prompt": "church bells", "seed": 42}
    jazz = {"prompt": "jazz trio", "seed": 7, "guidance": 4.0}
    return [
        {"start": bells, "preset": "instant", "audio_format": "wav"},
        {"start": bells, "end": jazz, "alpha": 0.5, "num_inference_steps": 2},
        {"start": jazz, "mode": "txt2img", "duration_s": 1.28, "num_inference_steps": 2},
        {"start": jazz, "mode": "txt2img", "duration_s": 7.0, "num_inference_steps": 1},
        {"start": jazz, "mask_image_id": "mask_gradient_dark", "num_inference_steps": 2},
        {"start": bells, "seed_image_id": "motorway", "image_format": "png", "preset": "instant"},
    ]


def edits() -> list[Request]:
    """Requests that edit a recording, each with an answer that is always the same."""
    start = {"prompt": "rain", "seed": 3}
    sound = {"init_audio": recording(), "audio_format": "wav", "image_format": "png"}
    drawn = {**sound, "start": start, "num_inference_steps": 2}
    return [
        {**drawn, "mode": "repaint", "region": {"from_s": 1.0, "to_s": 1.5}},
        {**drawn, "mode": "restyle"},
        {**drawn, "mode": "extend", "after_s": 1.0},
        {**sound, "mode": "loop", "beats": 4},
        {**sound, "mode": "stems"},
    ]


def jam_stop(index: int) -> Request:
    """Clip `index` of the jam: a quarter of the way to the next seed per clip."""
    seed, quarter = divmod(index, 4)
    prompts = ("church bells", "jazz trio", "techno beat")
    ends = [{"prompt": prompts[at % 3], "seed": 100 + at} for at in (seed, seed + 1)]
    return {
        "start": ends[0],
        "end": ends[1],
        "alpha": quarter / 4,
        "preset": "instant",
        "audio_format": "wav",
        "image_format": "png",
    }
