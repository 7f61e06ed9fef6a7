"""Conditioning on encodings: from a column, a file, a CLAP model, or an encoder in training."""

import hashlib
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file

from riffusion.datasets.folder import DatasetFolder
from riffusion.errors import InputError, MediaError
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.training.networks.audio_conditional_pipeline import AudioConditionalPipeline
from riffusion.training.networks.audio_encoder import (
    INPUT_HEIGHT,
    INPUT_WIDTH,
    AudioEncoder,
    encoder_input,
)
from riffusion.training.recipes import Recipe
from tests.datasets.striped_dataset import LABELS, make_striped_dataset
from tests.training.recipe_runs import QUIET, batch_of, loss_of, new_recipe, train

SIDE = 16
FORMER_MODULE = "riffusion.training.audio_encoder"
HALF_PRECISION_LEVELS = 6
"""Grey levels by which rounding the weights to half precision may change an image of a few guided
steps."""
WIDTH = 4
ENCODINGS = {
    label: [2.0 * (number == place) for number in range(WIDTH)]
    for place, label in enumerate(LABELS)
}
"""One encoding per label."""
NETWORK = {"tokens": 2, "width": 8, "channels": [8, 8], "groups": 4}
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Striped images with encodings in a column of the metadata."""
    directory = make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)
    add_column(directory, "encoding", lambda label, number: ENCODINGS[label])
    return directory


@pytest.fixture(scope="module")
def file(dataset: Path) -> Path:
    """The same encodings in a file, with two tokens each."""
    path = dataset.parent / "encodings.safetensors"
    save_file(file_encodings(dataset), path)
    return path


def add_column(directory: Path, column: str, value_of: Any) -> None:
    """Add a column to the metadata; `value_of` gets a row's label and number."""
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
    """Losses with the right encodings, and with encodings of the other label."""
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
            values = [
                recipe.objective(batch, torch.Generator().manual_seed(seed))["loss"]
                for seed in range(4)
            ]
            losses.append(float(torch.stack(values).mean()))
    return losses[0], losses[1]


def pixels_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.int16)


@pytest.mark.parametrize(
    ("kind", "shape"), [("column", (1, WIDTH)), ("file", (2, WIDTH)), ("network", (2, 8))]
)
def test_encodings_are_used_and_the_checkpoint_generates_what_the_recipe_does(
    dataset: Path, file: Path, tmp_path: Path, kind: str, shape: tuple[int, int]
) -> None:
    steps = 120 if kind == "column" else 60
    config = config_of(dataset, tmp_path / "run", encoder_of(kind, file), steps)
    before = new_recipe(config, tmp_path)
    recipe, folder = train(config, tmp_path)
    assert loss_of(recipe, tmp_path) < 0.5 * loss_of(before, tmp_path)
    right, swapped = loss_with_swapped_encodings(recipe, tmp_path)
    assert right < 0.97 * swapped  # the UNet uses the encodings
    described = json.loads((folder / "encodings.json").read_text())
    assert (described["tokens"], described["width"]) == shape
    assert described["from"] == {"network": "audio_encoder"}.get(kind, kind)
    assert SpectrogramParams.load(folder).num_frequencies == SIDE
    assert f"encodings: {shape[0]} x {shape[1]}" in (folder / "README.md").read_text()

    pipeline = AudioConditionalPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    held_out, generated = recipe.sample().rows
    if kind == "network":
        encodings = pipeline.encode(held_out)
        assert encodings.shape == (2, *shape)
    else:
        assert pipeline.audio_encoder is None
        rows = DatasetFolder(dataset).rows("validation")
        chosen = (rows[0], rows[-1])  # the rows of the two images in the sample grid
        encodings = torch.tensor([[ENCODINGS[row.label]] * shape[0] for row in chosen])
        with pytest.raises(InputError, match=r"has no audio encoder of its own"):
            pipeline.encode(held_out)
    again = pipeline(encodings, num_inference_steps=3, guidance=2.0).images
    for image, same in zip(again, generated, strict=True):
        difference = np.abs(pixels_of(image) - pixels_of(same)).max()
        assert difference <= HALF_PRECISION_LEVELS
    first, second = map(pixels_of, generated)
    assert np.abs(first - second).max() > HALF_PRECISION_LEVELS
    if kind == "column":
        check_that_stripes_follow_the_encodings(pipeline)


def check_that_stripes_follow_the_encodings(pipeline: AudioConditionalPipeline) -> None:
    """Tones are horizontal stripes, constant over time; beats are constant over frequency."""
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


def test_latents_are_generated_at_their_size(dataset: Path, file: Path, tmp_path: Path) -> None:
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


def test_a_checkpoint_of_an_earlier_version_loads(tmp_path: Path) -> None:
    """Its `model_index.json` has the module that the audio encoder was in."""
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
    )
    pipeline = AudioConditionalPipeline(
        unet, DDIMScheduler(), audio_encoder=AudioEncoder(**NETWORK)
    )
    pipeline.save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    text = index.read_text()
    assert "riffusion.training.networks.audio_encoder" in text
    index.write_text(text.replace("riffusion.training.networks.audio_encoder", FORMER_MODULE))
    code = (
        "from riffusion.training.audio_conditional_pipeline import AudioConditionalPipeline\n"
        f"print(type(AudioConditionalPipeline.from_pretrained({str(tmp_path)!r}).audio_encoder))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AudioEncoder" in done.stdout, done.stderr


def test_dropout_drops_encodings_at_its_rate(dataset: Path, tmp_path: Path) -> None:
    config = config_of(dataset, tmp_path / "run", {"column": "encoding"})
    config["data"]["caption_dropout"] = 0.25
    examples = new_recipe(config, tmp_path).examples("train", tmp_path / "cache")
    kept = [float(examples[0, draw]["kept"]) for draw in range(400)]
    assert set(kept) == {0.0, 1.0}
    assert np.mean(kept) == pytest.approx(0.75, abs=0.09)  # four standard deviations
    assert kept == [float(examples[0, draw]["kept"]) for draw in range(400)]


def test_the_encoder_input_has_the_means_of_the_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 256), dtype=np.uint8)
    small = encoder_input(Image.fromarray(pixels))
    assert small.shape == (1, INPUT_HEIGHT, INPUT_WIDTH)
    means = pixels.reshape(64, 2, 64, 4).mean(axis=(1, 3)) / 127.5 - 1
    assert np.abs(small[0].numpy() - means).max() <= 1.01 / 127.5  # rounded to whole levels
    assert torch.equal(encoder_input(Image.fromarray(pixels).convert("RGB")), small)


def test_encodings_of_the_encoder_have_unit_variance() -> None:
    encoder = AudioEncoder(tokens=3, width=16, channels=(8,), groups=4)
    with torch.inference_mode():
        encodings = encoder(torch.rand(5, 1, INPUT_HEIGHT, INPUT_WIDTH) * 2 - 1)
    assert encodings.shape == (5, 3, 16)
    assert float(encodings.mean()) == pytest.approx(0, abs=1e-5)
    assert float(encodings.square().mean()) == pytest.approx(1, abs=0.01)


def copy_of(dataset: Path, directory: Path, value_of: Any) -> Path:
    """A small data set with a column `bad`."""
    make_striped_dataset(directory, rows_per_label=2, side=SIDE)
    add_column(directory, "bad", value_of)
    return directory


@pytest.mark.parametrize(
    ("value_of", "message"),
    [
        (lambda label, n: 1.0, r"encoder.column='bad' of 'tone_0.png' is 1.0; a list of numbers"),
        (lambda label, n: "x", r"encoder.column='bad' of 'tone_0.png' is 'x'; a list of numbers"),
        (lambda label, n: [[1, 2], [3]], r"'bad' of 'tone_0.png' is \[\[1, 2\], \[3\]\]; a list"),
        (lambda label, n: [], r"'tone_0.png' has an encoding of shape \(0,\), .* and not be empty"),
        (lambda label, n: [1.0] * (1 + n), r"'beat_0.png' has an encoding of shape \(2,\), the f"),
        (
            lambda label, n: [[[1.0]]],
            r"shape \(1, 1, 1\), .*; all must have .*, \(width,\) or \(to",
        ),
        (lambda label, n: [float("nan")], r"the encoding of 'tone_0.png' is not finite; compute"),
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


@pytest.fixture
def clap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a CLAP model, with a stand-in for the model itself.

    Its embedding of a clip is the label's encoding, scaled to norm 1, as CLAP's embeddings are.
    """
    folder = tmp_path / "clap"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"projection_dim": WIDTH}))
    (folder / "model.safetensors").write_bytes(b"weights")

    class Embedder:
        num_clips = 0

        def __init__(self, directory: Path, params: SpectrogramParams) -> None:
            assert (directory, params.num_frequencies) == (folder, SIDE)

        def embed(self, planes: list[np.ndarray]) -> np.ndarray:
            Embedder.num_clips += len(planes)
            labels = ["tone" if np.ptp(plane, axis=-1).max() == 0 else "beat" for plane in planes]
            return np.array([ENCODINGS[label] for label in labels]) / 2

    monkeypatch.setattr("riffusion.evaluation.metrics.clap.ClapEmbedder", Embedder)
    return folder


def test_clap_encodes_each_clip_once_at_unit_mean_square(
    dataset: Path, tmp_path: Path, clap: Path
) -> None:
    from riffusion.evaluation.metrics import clap as module

    config = config_of(dataset, tmp_path / "run", {"clap": str(clap)}, steps=2)
    recipe = new_recipe(config, tmp_path)
    rows = DatasetFolder(dataset).rows("train")
    for _ in range(2):  # the second time from the cache
        examples = recipe.examples("train", tmp_path / "cache")
        for number, row in enumerate(rows):
            expected = torch.tensor([ENCODINGS[row.label]])  # norm 2, the root of the width
            assert torch.equal(examples[number, number]["encoding"], expected)
    assert module.ClapEmbedder.num_clips == len(rows)  # type: ignore[attr-defined] # the stand-in

    (clap / "model.safetensors").write_bytes(b"other weights")
    recipe.examples("train", tmp_path / "cache")
    assert module.ClapEmbedder.num_clips == 2 * len(rows)  # type: ignore[attr-defined]

    _, folder = train(config, tmp_path)
    described = json.loads((folder / "encodings.json").read_text())
    sha256 = hashlib.sha256(b"other weights").hexdigest()
    expected_description = {"tokens": 1, "width": WIDTH, "from": "clap", "model": "clap"}
    assert described.items() >= (expected_description | {"sha256": sha256}).items()


def test_a_cache_that_cannot_be_written_is_named(dataset: Path, tmp_path: Path, clap: Path) -> None:
    recipe = new_recipe(config_of(dataset, tmp_path / "run", {"clap": str(clap)}), tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cache='.*' cannot be written .*; make room there"):
            recipe.examples("train", tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("encoder", [{"clap": "CLAP"}, {"network": NETWORK}])
def test_an_image_that_is_missing_is_named(
    tmp_path: Path, clap: Path, encoder: dict[str, Any]
) -> None:
    directory = make_striped_dataset(tmp_path / "stripes", rows_per_label=2, side=SIDE)
    (directory / "train/beat_1.png").unlink()
    encoder = {"clap": str(clap)} if "clap" in encoder else encoder
    recipe = new_recipe(config_of(directory, tmp_path / "run", encoder), tmp_path)
    with pytest.raises((InputError, MediaError), match=r"beat_1\.png"):
        recipe.examples("train", tmp_path / "cache")


def test_splits_of_different_shapes_are_named(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixed.safetensors"
    encodings = file_encodings(dataset)
    for name in [name for name in encodings if name.startswith("validation/")]:
        encodings[name] = torch.ones(3, WIDTH)
    save_file(encodings, path)
    recipe = new_recipe(config_of(dataset, tmp_path / "run", {"file": str(path)}), tmp_path)
    recipe.examples("train", tmp_path / "cache")
    with pytest.raises(
        InputError, match=r"validation encodings have shape \(3, 4\), those of train have \(2"
    ):
        recipe.examples("validation", tmp_path / "cache")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unet": {"cross_attention_dim": 9}}, r"unet.cross_attention_dim=9 must be 4 to fit the "),
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
    with pytest.raises(InputError, match=r"seeds: \[7\] must be one for each of the 2 encodings"):
        pipeline(torch.zeros(2, 1, 4), seeds=[7])
