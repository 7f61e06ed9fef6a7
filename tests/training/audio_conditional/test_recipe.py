"""The recipe that conditions on encodings of audio, and the pipeline that it makes."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image

from riffusion.datasets.folder import DatasetFolder
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.training.networks.audio_conditional_pipeline import AudioConditionalPipeline
from riffusion.training.networks.audio_encoder import (
    INPUT_HEIGHT,
    INPUT_WIDTH,
    AudioEncoder,
    encoder_input,
)
from riffusion.training.recipes import Recipe
from tests.datasets.striped_dataset import LABELS
from tests.training.audio_conditional.encoded_clips import (
    ENCODINGS,
    NETWORK,
    SIDE,
    WIDTH,
    config_of,
)
from tests.training.recipe_runs import batch_of, loss_of, new_recipe, tiny_vae, train

FORMER_MODULE = "riffusion.training.audio_encoder"
FORMER_PIPELINE = "riffusion.training.audio_conditional_pipeline"
HALF_PRECISION_LEVELS = 6
"""Grey levels by which rounding the weights to half precision may change an image of a few guided
steps."""


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
    tiny_vae(scaling_factor=0.5).save_pretrained(tmp_path / "vae")
    config = config_of(dataset, tmp_path / "run", {"file": str(file)}, steps=2, vae=str(tmp_path))
    recipe, folder = train(config, tmp_path)
    assert recipe.objective.unet.config.in_channels == 4  # type: ignore[union-attr]
    pipeline = AudioConditionalPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.vae is not None
    encodings = torch.tensor([[ENCODINGS["tone"]] * 2])
    images = pipeline(encodings, seeds=[5], num_inference_steps=2).images
    assert [image.size for image in images] == [(SIDE, SIDE)]


def test_a_checkpoint_of_an_earlier_version_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `model_index.json` has the module that the audio encoder was in."""
    for name in (FORMER_MODULE, FORMER_PIPELINE):
        monkeypatch.delitem(sys.modules, name, raising=False)  # as in a new process
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
    former = importlib.import_module(FORMER_PIPELINE)
    loaded = former.AudioConditionalPipeline.from_pretrained(tmp_path)
    assert type(loaded.audio_encoder) is AudioEncoder
    weights = pipeline.audio_encoder.state_dict()
    assert all(torch.equal(weights[n], w) for n, w in loaded.audio_encoder.state_dict().items())
    assert FORMER_MODULE in sys.modules


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
