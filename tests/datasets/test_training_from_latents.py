"""Training from packed latents: the examples and losses of the images."""

from pathlib import Path

import pytest
import torch

from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.latents import LatentExamples
from riffusion.datasets.order import streamed_folder
from riffusion.datasets.shard_writer import write_shards
from riffusion.errors import InputError
from riffusion.training.config import DataConfig
from tests.datasets.packed import HALF_PRECISION, LEVELS, base, config_of, dataset, packed, vae_of
from tests.training.recipe_runs import loss_of, new_recipe, train

__all__ = ["base", "dataset", "packed"]  # fixtures


TRAINED_LOSS_TOLERANCE = 0.01
"""Relative difference of losses after the same number of steps. At 8 levels per unit the rounding
error has 0.13 % of the latents' power; its share in the loss is smaller, as most of the network's
input is noise."""


@pytest.mark.parametrize("task", ["text_to_spectrogram", "fine_tune", "unconditional"])
def test_recipes_see_the_same_examples(
    dataset: Path, packed: Path, base: Path, tmp_path: Path, task: str
) -> None:
    from_images, from_packed = (
        new_recipe(config_of(task, base, source, tmp_path), tmp_path)
        for source in (dataset, packed)
    )
    splits: tuple[Split, Split] = ("train", "validation")
    for split in splits:
        seen = from_images.examples(split, tmp_path / "cache")
        unpacked = from_packed.examples(split, tmp_path / "none")
        assert len(seen) == len(unpacked)  # type: ignore[arg-type]
        for draw in range(len(seen)):  # type: ignore[arg-type]
            expected, example = seen[draw, draw], unpacked[draw, draw]
            assert expected.keys() == example.keys()
            error = (example["latents"] - expected["latents"]).abs().max()
            assert error <= 0.5 / LEVELS + HALF_PRECISION * 127 / LEVELS
            assert expected["latents"].std() > 4 / LEVELS
            if "input_ids" in expected:
                assert torch.equal(example["input_ids"], expected["input_ids"])
    assert not (tmp_path / "none").exists()


def test_training_from_images_and_from_latents_gives_similar_losses(
    dataset: Path, packed: Path, base: Path, tmp_path: Path
) -> None:
    losses = {}
    for name, source in (("images", dataset), ("packed", packed)):
        config = config_of("text_to_spectrogram", base, source, tmp_path / name)
        recipe, checkpoint = train(config, tmp_path)
        losses[name] = loss_of(recipe, tmp_path / name)
        assert (checkpoint / "spectrogram_params.json").is_file()
    config = config_of("text_to_spectrogram", base, packed, tmp_path / "start")
    at_start = loss_of(new_recipe(config, tmp_path), tmp_path)
    assert losses["packed"] < 0.9 * at_start
    assert losses["packed"] == pytest.approx(losses["images"], rel=TRAINED_LOSS_TOLERANCE)


def test_the_folder_contains_its_vae(packed: Path, base: Path, tmp_path: Path) -> None:
    """The VAE is stored in half precision, with the same encoder fingerprint."""
    config = config_of("text_to_spectrogram", base, packed, tmp_path) | {"vae": str(packed)}
    examples = new_recipe(config, tmp_path).examples("train", tmp_path)
    assert len(examples) == 24  # type: ignore[arg-type]


def test_training_streams_latents_of_tar_files(packed: Path, base: Path, tmp_path: Path) -> None:
    write_shards(DatasetFolder(packed), tmp_path / "shards", 2000)
    config = config_of("text_to_spectrogram", base, tmp_path / "shards", tmp_path / "run")
    recipe = new_recipe(config, tmp_path)
    streamed = recipe.examples("train", tmp_path / "cache")
    config["data"]["dataset"] = str(packed)
    kept = new_recipe(config, tmp_path).examples("train", tmp_path / "cache")
    numbers = {
        row.file_name: number for number, row in enumerate(DatasetFolder(packed).rows("train"))
    }
    for number, row in enumerate(recipe.folder.rows("train")):
        for draw in range(4):
            found, expected = streamed[number, draw], kept[numbers[row.file_name], draw]
            assert torch.equal(found["latents"], expected["latents"])  # the same shift, too
            assert torch.equal(found["input_ids"], expected["input_ids"])
    assert streamed_folder(streamed) is recipe.folder
    assert streamed_folder(kept) is None

    config["data"]["dataset"] = str(tmp_path / "shards")
    trained, checkpoint = train(config, tmp_path)
    assert loss_of(trained, tmp_path) < loss_of(new_recipe(config, tmp_path), tmp_path)
    assert checkpoint.is_dir()
    assert not (tmp_path / "run/cache").exists()

    replaying = config_of("fine_tune", base, tmp_path / "shards", tmp_path / "run")
    replaying["data"]["replay"] = {"dataset": str(packed), "share": 0.5}
    with pytest.raises(InputError, match=r"data\.replay cannot be combined with a sharded"):
        new_recipe(replaying, tmp_path)

    other = vae_of(base)
    with torch.no_grad():
        next(other.encoder.parameters()).mul_(2)
    with pytest.raises(InputError, match=r"shards' holds latents of encoder"):
        LatentExamples(recipe.folder, "train", other, DataConfig(dataset="d"), tmp_path / "cache")
