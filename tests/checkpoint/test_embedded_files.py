"""The embedded checkpoint has all files that it needs, and they are small."""

from pathlib import Path

from riffusion.checkpoint.distillation import read_distillation
from riffusion.checkpoint.files import read_json

EMBEDDED = Path(__file__).parents[2] / "data/demo-checkpoint"
MAX_FILE_BYTES, MAX_BYTES = 15_000_000, 40_000_000


def test_the_files_are_small() -> None:
    sizes = {path: path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()}
    assert max(sizes.values()) < MAX_FILE_BYTES
    assert sum(sizes.values()) < MAX_BYTES


def test_the_shards_are_those_of_their_index() -> None:
    (index,) = EMBEDDED.glob("unet/*.index.json")
    named = set(read_json(index)["weight_map"].values())
    assert {path.name for path in EMBEDDED.glob("unet/*.safetensors")} == named


def test_it_is_distilled_and_guided_sampling_still_works() -> None:
    distillation = read_distillation(EMBEDDED, read_json(EMBEDDED / "unet/config.json"))
    assert distillation is not None
    assert distillation.guided_sampling
    low, high = distillation.guidance
    assert low <= 4 < 7 <= high  # of `make demo`, and the default
