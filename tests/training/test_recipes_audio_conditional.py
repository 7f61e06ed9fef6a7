"""Conditioning on encodings: from a column, a file, or a network that learns along."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import save_file

from riffusion.datasets.folder import DatasetFolder
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.training.networks.audio_conditional_pipeline import AudioConditionalPipeline
from riffusion.training.networks.audio_encoder import (
    HEARD_HEIGHT,
    HEARD_WIDTH,
    AudioEncoder,
    encoder_image,
)
from riffusion.training.recipes import Recipe
from tests.datasets.striped_dataset import LABELS, make_striped_dataset
from tests.training.recipe_runs import QUIET, batch_of, loss_of, new_recipe, train

SIDE = 16
HALF_PRECISION_LEVELS = 6
"""Grey levels by which weights rounded to half precision may change an image of a few guided
steps."""
WIDTH = 4
ENCODINGS = {
    label: [2.0 * (number == place) for number in range(WIDTH)]
    for place, label in enumerate(LABELS)
}
"""What tells the labels apart."""
NETWORK = {"tokens": 2, "width": 8, "channels": [8, 8], "groups": 4}
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes, whose rows have their encodings in a column."""
    directory = make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)
    add_column(directory, "encoding", lambda label, number: ENCODINGS[label])
    return directory


@pytest.fixture(scope="module")
def file(dataset: Path) -> Path:
    """The same encodings as a file, two tokens each."""
    path = dataset.parent / "encodings.safetensors"
    save_file(file_encodings(dataset), path)
    return path


def add_column(directory: Path, column: str, value_of: Any) -> None:
    """Add a column to the metadata; `value_of` has the label and the row's number."""
    for split in ("train", "validation"):
        lines = (directory / split / "metadata.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        for number, row in enumerate(rows):
            row[column] = value_of(row["label"], number)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (directory / split / "metadata.jsonl").write_text(text)


def file_encodings(dataset: Path) -> Weights:
    folder = DatasetFolder(dataset)
    return {
        f"{split}/{row.file_name}": torch.tensor([ENCODINGS[row.label]] * 2)
        for split in ("train", "validation")
        for row in folder.rows(split)  # type: ignore[arg-type] # a split
    }


def config_of(
    dataset: Path, output: Path, encoder: dict[str, Any], steps: int = 60, **others: Any
) -> dict[str, Any]:
    return {
        "task": "audio_conditional",
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 8, "caption_dropout": 0.1},
        "encoder": encoder,
        "unet": {
            "block_out_channels": [16, 32],
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "attention_head_dim": 2,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        },
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": min(5, steps), "weight_decay": 0.0},
        "sample": {"images": 2, "steps": 3},
        "run": QUIET | {"steps": steps},
        **others,
    }


def encoder_of(kind: str, file: Path) -> dict[str, Any]:
    return {
        "column": {"column": "encoding"},
        "file": {"file": str(file)},
        "network": {"network": NETWORK},
    }[kind]


def loss_with_swapped_encodings(recipe: Recipe, folder: Path) -> tuple[float, float]:
    """Losses with the right encodings, and with those of the other label."""
    rows = recipe.folder.rows("train")
    examples = recipe.examples("train", folder / "cache")
    right = batch_of([examples[row, row] for row in range(16)])
    right["kept"] = torch.ones(16)
    other = [next(i for i, row in enumerate(rows) if row.label != rows[n].label) for n in range(16)]
    swapped = right.copy()
    swapped["encoding"] = batch_of([examples[row, row] for row in other])["encoding"]
    recipe.objective.eval()
    losses = []
    with torch.inference_mode():
        for batch in (right, swapped):
            drawn = [
                recipe.objective(batch, torch.Generator().manual_seed(seed))["loss"]
                for seed in range(4)
            ]
            losses.append(float(torch.stack(drawn).mean()))
    return losses[0], losses[1]


def pixels_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.int16)


@pytest.mark.parametrize(
    ("kind", "shape"), [("column", (1, WIDTH)), ("file", (2, WIDTH)), ("network", (2, 8))]
)
def test_encodings_are_learned_from_and_the_checkpoint_draws_as_the_recipe_does(
    dataset: Path, file: Path, tmp_path: Path, kind: str, shape: tuple[int, int]
) -> None:
    steps = 120 if kind == "column" else 60
    config = config_of(dataset, tmp_path / "run", encoder_of(kind, file), steps)
    before = new_recipe(config, tmp_path)
    recipe, folder = train(config, tmp_path)
    assert loss_of(recipe, tmp_path) < 0.5 * loss_of(before, tmp_path)
    right, swapped = loss_with_swapped_encodings(recipe, tmp_path)
    assert right < 0.97 * swapped  # the UNet listens
    told = json.loads((folder / "encodings.json").read_text())
    assert (told["tokens"], told["width"]) == shape
    assert told["from"] == {"network": "audio_encoder"}.get(kind, kind)
    assert SpectrogramParams.load(folder).num_frequencies == SIDE
    assert f"encodings: {shape[0]} x {shape[1]}" in (folder / "README.md").read_text()

    pipeline = AudioConditionalPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    held, drawn = recipe.sample().rows
    if kind == "network":
        encodings = pipeline.encode(held)
        assert encodings.shape == (2, *shape)
    else:
        assert pipeline.audio_encoder is None
        rows = DatasetFolder(dataset).rows("validation")
        chosen = (rows[0], rows[-1])  # as two images of the sheet are
        encodings = torch.tensor([[ENCODINGS[row.label]] * shape[0] for row in chosen])
        with pytest.raises(InputError, match=r"has no audio encoder of its own"):
            pipeline.encode(held)
    again = pipeline(encodings, num_inference_steps=3, guidance=2.0).images
    for image, same in zip(again, drawn, strict=True):
        difference = np.abs(pixels_of(image) - pixels_of(same)).max()
        assert difference <= HALF_PRECISION_LEVELS
    assert np.abs(pixels_of(drawn[0]) - pixels_of(drawn[1])).max() > HALF_PRECISION_LEVELS
    if kind == "column":
        check_that_stripes_are_as_asked_for(pipeline)


def check_that_stripes_are_as_asked_for(pipeline: AudioConditionalPipeline) -> None:
    """Tones are horizontal stripes: columns are alike. Of beats, rows are."""
    wanted = [label for label in LABELS for _ in range(4)]
    encodings = torch.tensor([[ENCODINGS[label]] for label in wanted])
    images = pipeline(encodings, num_inference_steps=10, guidance=2.0).images
    for label, image in zip(wanted, images, strict=True):
        pixels = pixels_of(image).astype(float)
        over_time, over_frequency = np.diff(pixels, axis=1).std(), np.diff(pixels, axis=0).std()
        assert (over_frequency > over_time) == (label == "tone"), label


def test_the_encoder_learns_with_the_unet(dataset: Path, tmp_path: Path) -> None:
    config = config_of(dataset, tmp_path / "run", {"network": NETWORK}, steps=2)
    before = new_recipe(config, tmp_path).objective.state_dict()
    recipe, folder = train(config, tmp_path)
    after = recipe.objective.state_dict()
    moved = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert {name.split(".")[0] for name in moved} == {"unet", "audio_encoder"}

    more = config_of(dataset, tmp_path / "more", {"network": NETWORK}, init_from=str(folder))
    begun = new_recipe(more, tmp_path).objective.state_dict()
    for name, weight in after.items():
        assert torch.equal(begun[name], weight.half().float()), name


def test_latents_are_drawn_at_their_size(dataset: Path, file: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKL(
            latent_channels=4,
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            scaling_factor=0.5,
        )
    vae.save_pretrained(tmp_path / "vae")
    config = config_of(dataset, tmp_path / "run", {"file": str(file)}, steps=2, vae=str(tmp_path))
    recipe, folder = train(config, tmp_path)
    assert recipe.objective.unet.config.in_channels == 4  # type: ignore[union-attr]
    pipeline = AudioConditionalPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.vae is not None
    encodings = torch.tensor([[ENCODINGS["tone"]] * 2])
    images = pipeline(encodings, seeds=[5], num_inference_steps=2).images
    assert [image.size for image in images] == [(SIDE, SIDE)]


def test_dropout_leaves_encodings_out(dataset: Path, tmp_path: Path) -> None:
    config = config_of(dataset, tmp_path / "run", {"column": "encoding"})
    config["data"]["caption_dropout"] = 0.25
    examples = new_recipe(config, tmp_path).examples("train", tmp_path / "cache")
    kept = [float(examples[0, draw]["kept"]) for draw in range(400)]
    assert set(kept) == {0.0, 1.0}
    assert np.mean(kept) == pytest.approx(0.75, abs=0.09)  # four standard deviations
    assert kept == [float(examples[0, draw]["kept"]) for draw in range(400)]


def test_a_image_is_heard_as_means_of_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 256), dtype=np.uint8)
    heard = encoder_image(Image.fromarray(pixels))
    assert heard.shape == (1, HEARD_HEIGHT, HEARD_WIDTH)
    means = pixels.reshape(64, 2, 64, 4).mean(axis=(1, 3)) / 127.5 - 1
    assert np.abs(heard[0].numpy() - means).max() <= 1.01 / 127.5  # rounded to whole levels
    assert torch.equal(encoder_image(Image.fromarray(pixels).convert("RGB")), heard)


def test_encodings_of_the_encoder_have_unit_variance() -> None:
    encoder = AudioEncoder(tokens=3, width=16, channels=(8,), groups=4)
    with torch.inference_mode():
        encodings = encoder(torch.rand(5, 1, HEARD_HEIGHT, HEARD_WIDTH) * 2 - 1)
    assert encodings.shape == (5, 3, 16)
    assert float(encodings.mean()) == pytest.approx(0, abs=1e-5)
    assert float(encodings.square().mean()) == pytest.approx(1, abs=0.01)


def copy_of(dataset: Path, directory: Path, value_of: Any) -> Path:
    """A data set like that, with another column `bad`."""
    make_striped_dataset(directory, rows_per_label=2, side=SIDE)
    add_column(directory, "bad", value_of)
    return directory


@pytest.mark.parametrize(
    ("value_of", "message"),
    [
        (lambda label, n: 1.0, r"encoder.column='bad' of 'tone_0.png' is 1.0; a list of numbers"),
        (lambda label, n: "x", r"encoder.column='bad' of 'tone_0.png' is 'x'; a list of numbers"),
        (lambda label, n: [[1, 2], [3]], r"'bad' of 'tone_0.png' is \[\[1, 2\], \[3\]\]; a list"),
        (lambda label, n: [], r"'tone_0.png' has an encoding of shape \(0,\), .* at least one"),
        (lambda label, n: [1.0] * (1 + n), r"'beat_0.png' has an encoding of shape \(2,\), the f"),
        (lambda label, n: [[[1.0]]], r"shape \(1, 1, 1\), .*; all must be \(width,\) or \(tokens"),
        (lambda label, n: [float("nan")], r"the encoding of 'tone_0.png' is not finite; make it"),
    ],
    ids=["number", "text", "ragged", "empty", "unequal", "deep", "nan"],
)
def test_a_bad_column_is_named(dataset: Path, tmp_path: Path, value_of: Any, message: str) -> None:
    bad = copy_of(dataset, tmp_path / "bad", value_of)
    with pytest.raises(InputError, match=message) as caught:
        new_recipe(config_of(bad, tmp_path / "run", {"column": "bad"}), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"encoder.column='loudness' of 'tone_0.png' is None"):
        new_recipe(config_of(dataset, tmp_path / "run", {"column": "loudness"}), tmp_path)


def test_a_bad_file_is_named(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    config = config_of(dataset, tmp_path / "run", {"file": str(path)})
    with pytest.raises(InputError, match=r"bad\.safetensors"):
        new_recipe(config, tmp_path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(InputError, match=r"is not safetensors .*; write it with safetensors\.tor"):
        new_recipe(config, tmp_path)
    encodings = file_encodings(dataset)
    del encodings["train/beat_3.png"]
    save_file(encodings, path)
    with pytest.raises(
        InputError, match=r"has no tensor 'train/beat_3.png' among its 47; every image needs one"
    ):
        new_recipe(config, tmp_path)


def test_splits_of_different_shapes_are_named(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixed.safetensors"
    encodings = file_encodings(dataset)
    for name in [name for name in encodings if name.startswith("validation/")]:
        encodings[name] = torch.ones(3, WIDTH)
    save_file(encodings, path)
    recipe = new_recipe(config_of(dataset, tmp_path / "run", {"file": str(path)}), tmp_path)
    recipe.examples("train", tmp_path / "cache")
    with pytest.raises(InputError, match=r"validation encodings are \(3, 4\), those of train \(2"):
        recipe.examples("validation", tmp_path / "cache")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unet": {"cross_attention_dim": 9}}, r"unet.cross_attention_dim=9 must be 4, as the pi"),
        ({"data": {"resolution": 27}}, r"data.resolution=27 must be a multiple of 2"),
        ({"encoder": {"network": {"words": 2}}}, r"encoder.network.words is not an option of Audi"),
        ({"encoder": {"network": {"channels": [9]}}}, r"encoder.network: AudioEncoder refuses thi"),
        ({"encoder": {"clap": "nowhere"}}, r"encoder.clap='nowhere' has no model.safetensors"),
    ],
)
def test_contradictions_are_named(
    dataset: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = config_of(dataset, tmp_path / "run", {"column": "encoding"})
    for name, value in changes.items():
        config[name] = value if name == "encoder" else config[name] | value
    with pytest.raises(InputError, match=message) as caught:
        new_recipe(config, tmp_path)
    assert "\n" not in str(caught.value)


def test_the_pipeline_refuses_what_does_not_fit(dataset: Path, tmp_path: Path) -> None:
    recipe = new_recipe(config_of(dataset, tmp_path / "run", {"column": "encoding"}), tmp_path)
    pipeline = recipe.pipeline()  # type: ignore[attr-defined] # of this recipe
    with pytest.raises(InputError, match=r"encodings: shape \(2, 4\) must be \(images, tokens, 4"):
        pipeline(torch.zeros(2, 4))
    with pytest.raises(InputError, match=r"encodings: shape \(1, 1, 5\) must be"):
        pipeline(torch.zeros(1, 1, 5))
    with pytest.raises(InputError, match=r"seeds: \[7\] must be one for each of 2 encodings"):
        pipeline(torch.zeros(2, 1, 4), seeds=[7])
