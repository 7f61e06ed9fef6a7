"""Packed latents: rounding error, training from them, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from safetensors import safe_open

from riffusion.cli.app import main
from riffusion.datasets import latents as latents_module
from riffusion.datasets.encode import encode_dataset, thinned
from riffusion.datasets.folder import LATENTS_NAME, DatasetFolder, DatasetRow, Split
from riffusion.datasets.latents import LatentExamples
from riffusion.datasets.order import streamed_folder
from riffusion.datasets.packed_latents import read_latents, write_latents
from riffusion.datasets.shard_writer import write_shards
from riffusion.errors import InputError
from riffusion.training.config import DataConfig
from riffusion.training.networks.build import load_network
from tests.checkpoint.checkpoints import tiny_model, write_folder
from tests.datasets.striped_dataset import LABELS, make_striped_dataset, striped_params
from tests.training.recipe_runs import QUIET, loss_of, new_recipe, train

SIDE = 16
LEVELS = 8
HALF_PRECISION = 2**-11
"""Relative rounding error of float16, the precision of latents in memory."""
DEVIATION_TOLERANCE = 0.02
"""Relative, for the standard deviation of 150,000 rounding errors, which varies by 0.2 %."""
TRAINED_LOSS_TOLERANCE = 0.01
"""Relative difference of losses after the same number of steps. At 8 levels per unit the rounding
error has 0.13 % of the latents' power; its share in the loss is smaller, as most of the network's
input is noise."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with random weights, and latents of about unit deviation."""
    model = tiny_model()
    model.vae.register_to_config(scaling_factor=5.5)
    folder = write_folder(model, tmp_path_factory.mktemp("base") / "tiny")
    striped_params(SIDE).save(folder)
    return folder


@pytest.fixture(scope="module")
def packed(dataset: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("packed") / "latents"
    encode_dataset(DatasetFolder(dataset), vae_of(base), directory, levels=LEVELS)
    return directory


def vae_of(folder: Path) -> AutoencoderKL:
    vae: AutoencoderKL = load_network(AutoencoderKL, folder, "vae").eval()
    return vae


def config_of(task: str, base: Path, dataset: Path, output: Path) -> dict[str, Any]:
    config: dict[str, Any] = {
        "task": task,
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 8, "circular_shifts": 4},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 2},
        "run": QUIET | {"steps": 10},
    }
    blocks: dict[str, Any] = {"block_out_channels": [16, 32], "layers_per_block": 1}
    blocks["norm_num_groups"] = 8
    if task in ("fine_tune", "distill"):
        return config | {"checkpoint": str(base)}
    if task == "unconditional":
        plain = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
        return config | {"vae": str(base), "unet": blocks | plain}
    attending = {
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": 2,
    }
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    return config | {
        "vae": str(base),
        "unet": blocks | attending,
        "text_encoder": text | {"num_attention_heads": 2},
        "vocabulary_size": 520,
    }


def pack(
    directory: Path, latents: torch.Tensor, levels: int = LEVELS
) -> tuple[float, torch.Tensor]:
    """The share of clipped values, and the latents as they are read back."""
    path = directory / LATENTS_NAME
    share = write_latents(path, latents, levels, (SIDE, SIDE), "encoder")
    return share, read_latents(path)[1]


@settings(max_examples=20, deadline=None)
@given(levels=st.integers(1, 64), rows=st.sampled_from([1, 255, 256, 300]), seed=st.integers(0, 99))
def test_rounding_errs_by_at_most_half_a_level(
    tmp_path_factory: pytest.TempPathFactory, levels: int, rows: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.rand(rows, 2, 3, 5, generator=generator) * 2 - 1
    latents *= 127 / levels
    share, back = pack(tmp_path_factory.mktemp("round"), latents, levels)
    assert share == 0
    assert back.dtype == torch.float16 and back.shape == latents.shape
    error = (back.float() - latents).abs().max()
    assert error <= 0.5 / levels + HALF_PRECISION * 127 / levels


def test_rounding_has_the_stated_deviation(tmp_path: Path) -> None:
    latents = torch.randn(600, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    error = pack(tmp_path, latents)[1].float() - latents
    assert float(error.std()) == pytest.approx(1 / (LEVELS * 12**0.5), rel=DEVIATION_TOLERANCE)


def test_values_out_of_range_are_clipped_and_counted(tmp_path: Path) -> None:
    latents = torch.zeros(2, 1, 5, 5)
    latents[0, 0, 0, 0], latents[1, 0, 4, 4] = 1e6, -1e6
    share, back = pack(tmp_path, latents)
    assert share == 2 / 50
    assert back[0, 0, 0, 0] == 127 / LEVELS and back[1, 0, 4, 4] == -127 / LEVELS


def test_repeated_bars_are_stored_once(tmp_path: Path) -> None:
    bar = torch.randn(16, 4, 32, 16, generator=torch.Generator().manual_seed(0))
    other = torch.randn(16, 4, 32, 16, generator=torch.Generator().manual_seed(1))
    pack(tmp_path, torch.cat([bar, other], dim=-1))
    size = (tmp_path / LATENTS_NAME).stat().st_size
    pack(tmp_path, torch.cat([bar, bar], dim=-1))
    assert (tmp_path / LATENTS_NAME).stat().st_size < 0.8 * size


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


def examples_of(packed: Path, vae: AutoencoderKL, cache: Path, **data: Any) -> LatentExamples:
    config = DataConfig(dataset=packed, **data)
    return LatentExamples(DatasetFolder(packed), "train", vae, config, cache)


def test_another_encoder_is_refused_another_decoder_is_not(
    packed: Path, base: Path, tmp_path: Path
) -> None:
    vae = vae_of(base)
    torch.nn.init.zeros_(vae.decoder.conv_out.weight)
    expected = read_latents(packed / "train" / LATENTS_NAME)[1]
    assert torch.equal(examples_of(packed, vae, tmp_path).latents, expected)
    torch.nn.init.zeros_(vae.encoder.conv_out.weight)
    with pytest.raises(InputError, match=r"holds latents of encoder \w+, but the VAE has encoder"):
        examples_of(packed, vae, tmp_path)


def test_another_scale_of_latents_is_refused(packed: Path, base: Path, tmp_path: Path) -> None:
    vae = vae_of(base)
    vae.register_to_config(scaling_factor=2 * vae.config.scaling_factor)
    with pytest.raises(InputError, match="holds latents of encoder"):
        examples_of(packed, vae, tmp_path)


def test_another_resolution_is_refused(packed: Path, base: Path, tmp_path: Path) -> None:
    examples_of(packed, vae_of(base), tmp_path, resolution=SIDE)
    with pytest.raises(InputError, match=r"data\.resolution=32 differs from the 16 x 16 pixels"):
        examples_of(packed, vae_of(base), tmp_path, resolution=2 * SIDE)


@pytest.fixture
def copy(dataset: Path, base: Path, tmp_path: Path) -> Path:
    """Packed latents to be damaged."""
    encode_dataset(DatasetFolder(dataset), vae_of(base), tmp_path / "copy")
    return tmp_path / "copy"


def test_the_header_keeps_its_former_key(tmp_path: Path) -> None:
    """Files of earlier versions say `picture`; they are read, and new ones can be read there."""
    pack(tmp_path, torch.zeros(2, 2, 3, 5))
    with safe_open(tmp_path / LATENTS_NAME, "pt") as file:
        header = json.loads(file.metadata()["packed_latents"])
    assert header["picture"] == [SIDE, SIDE]
    assert "image" not in header
    assert read_latents(tmp_path / LATENTS_NAME)[0].image == (SIDE, SIDE)


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "fewer", "missing"])
def test_a_damaged_file_is_refused(copy: Path, base: Path, tmp_path: Path, damage: str) -> None:
    split: Split = "validation"
    path = copy / split / LATENTS_NAME
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        path.write_bytes(data[:-200] + bytes([data[-200] ^ 1]) + data[-199:])
    elif damage == "foreign":
        path.write_bytes((copy / "vae/diffusion_pytorch_model.safetensors").read_bytes())
    elif damage == "fewer":
        metadata = copy / split / "metadata.jsonl"
        metadata.write_text("".join(metadata.read_text().splitlines(keepends=True)[1:]))
    else:
        path.unlink()
    config = DataConfig(dataset=copy)
    with pytest.raises(InputError) as caught:
        LatentExamples(DatasetFolder(copy), split, vae_of(base), config, tmp_path)
    assert str(caught.value).startswith(f"latents={str(path)!r} cannot be read (")
    assert "\n" not in str(caught.value)


def test_a_header_that_promises_less_than_a_shard_holds_is_refused(tmp_path: Path) -> None:
    """Data is never expanded beyond the size in the header."""
    pack(tmp_path, torch.zeros(4, 1, 64, 64))
    path = tmp_path / LATENTS_NAME
    data = path.read_bytes()
    changed = data.replace(rb"\"rows\":4", rb"\"rows\":1")
    assert changed != data
    path.write_bytes(changed)
    with pytest.raises(InputError, match="shard-00000 does not hold 1 rows"):
        read_latents(path)


def rows_of(counts: dict[str, int]) -> list[DatasetRow]:
    return [
        DatasetRow(f"{label}/{number:06}.png", label, label=label)
        for label, count in counts.items()
        for number in range(count)
    ]


@settings(max_examples=30, deadline=None)
@given(
    counts=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1),
    most=st.integers(1, 30),
)
def test_thinning_is_even_ordered_and_nested(counts: dict[str, int], most: int) -> None:
    rows = rows_of(counts)
    kept = thinned(rows, most)
    assert kept == sorted(kept) == thinned(rows, most)
    found = [rows[number].label for number in kept]
    assert {label: found.count(label) for label in counts} == {
        label: min(count, most) for label, count in counts.items()
    }
    assert set(kept) <= set(thinned(rows, most + 1))
    assert thinned(rows, None) == list(range(len(rows)))


def test_thinning_keeps_all_styles_of_a_cycle() -> None:
    """Seven alternating styles are all kept, about equally often."""
    kept = thinned(rows_of({"piano": 700}), 100)
    of_style = [sum(number % 7 == style for number in kept) for style in range(7)]
    assert min(of_style) >= 5


def test_a_thinned_data_set_has_matching_rows_and_latents(
    dataset: Path, base: Path, tmp_path: Path
) -> None:
    source = DatasetFolder(dataset)
    report = encode_dataset(source, vae_of(base), tmp_path / "few", clips_per_label=3)
    assert report.num_rows == {"validation": 6, "train": 6}
    rows = source.rows("train")
    kept = thinned(rows, 3)
    folder = DatasetFolder(tmp_path / "few")
    assert folder.rows("train") == [rows[number] for number in kept]
    assert folder.params == source.params
    whole = LatentExamples(
        source, "train", vae_of(base), DataConfig(dataset=dataset), tmp_path / "cache"
    )
    few = read_latents(tmp_path / "few/train" / LATENTS_NAME)[1].float()
    assert (few - whole.latents[kept].float()).abs().max() <= 0.5 / LEVELS + HALF_PRECISION
    files = [path for path in (tmp_path / "few").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == report.num_bytes
    assert not list(tmp_path.glob(".few*"))


def test_cached_latents_of_a_training_run_are_reused(
    dataset: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = new_recipe(config_of("text_to_spectrogram", base, dataset, tmp_path), tmp_path)
    splits: tuple[Split, Split] = ("train", "validation")
    for split in splits:
        recipe.examples(split, tmp_path / "cache")
    monkeypatch.setattr(latents_module, "_encode", None)  # calling it would be an error
    encode_dataset(DatasetFolder(dataset), vae_of(base), tmp_path / "l", cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_cached_latents_depend_on_pixels_and_scaling_factor(
    dataset: Path, base: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(dataset, tmp_path / "copied")
    cache = tmp_path / "cache"

    def latents(vae: AutoencoderKL) -> torch.Tensor:
        config = DataConfig(dataset=copied)
        return LatentExamples(DatasetFolder(copied), "train", vae, config, cache).latents

    first = latents(vae_of(base))
    assert torch.equal(latents(vae_of(base)), first)
    assert len(list(cache.iterdir())) == 1
    scaled = vae_of(base)
    scaled.register_to_config(scaling_factor=2 * scaled.config.scaling_factor)
    assert torch.allclose(latents(scaled).float(), 2 * first.float(), rtol=1e-2, atol=1e-2)
    path = sorted((copied / "train").rglob("*.png"))[0]
    with Image.open(path) as image:
        ImageOps.invert(image.convert("RGB")).save(path)
    changed = latents(vae_of(base))
    differing = [
        row for row, (a, b) in enumerate(zip(changed, first, strict=True)) if not torch.equal(a, b)
    ]
    assert len(differing) == 1
    assert len(list(cache.iterdir())) == 3


def test_the_command_prints_counts_and_size(
    dataset: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "packed"
    arguments = ["dataset", "encode", str(dataset), "--vae", str(base), "-o", str(output)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert f"Wrote {output} (24 latents for validation, 24 latents for train, " in captured.out
    info = json.loads((output / "dataset.json").read_text())
    assert info["options"]["made_from"]["command"] == "test"
    assert main(arguments) == 0  # resumes
    assert main([*arguments, "--levels-per-unit", "4"]) == 2
    assert "--levels-per-unit: 8 then, 4 now" in capsys.readouterr().err
    arguments[2] = str(output)
    assert main([*arguments[:-1], str(tmp_path / "again")]) == 2
    assert "already holds latents; name the data set of images" in capsys.readouterr().err


def test_other_files_in_the_folders_change_nothing(
    dataset: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "source", tmp_path / "packed"
    shutil.copytree(dataset, tmp_path / "real")
    source.symlink_to(tmp_path / "real")
    for folder in (source, source / "train", source / "validation"):
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / "._metadata.jsonl").write_bytes(b"\0\5\x16\7")
        (folder / "stray.png").write_bytes(b"no image")
        (folder / "album").symlink_to(source)
    output.mkdir()
    (output / ".DS_Store").touch()
    arguments = ["dataset", "encode", str(source), "--vae", str(base), "-o", str(output)]
    assert main(arguments) == 0
    assert "(24 latents for validation, 24 latents for train, " in capsys.readouterr().out
    clean = [*arguments[:2], str(dataset), *arguments[3:-1], str(tmp_path / "clean")]
    assert main(clean) == 0
    for split in ("train", "validation"):
        name = f"{split}/{LATENTS_NAME}"
        assert (output / name).read_bytes() == (tmp_path / "clean" / name).read_bytes()


def test_a_second_run_at_the_same_time_is_refused(
    dataset: Path, base: Path, tmp_path: Path
) -> None:
    def start_another(done: int, total: int) -> None:
        with pytest.raises(InputError, match="is in use by another run; .* is process "):
            encode_dataset(DatasetFolder(dataset), vae_of(base), tmp_path / "l")
        calls.append(done)

    calls: list[int] = []
    encode_dataset(DatasetFolder(dataset), vae_of(base), tmp_path / "l", progress=start_another)
    assert calls
    assert not (tmp_path / "l/.owner").exists()


def test_commands_that_need_images_refuse_latents(
    packed: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = new_recipe(
        {
            "task": "autoencoder",
            "output": str(tmp_path / "run"),
            "init_from": str(base),
            "data": {"dataset": str(packed), "batch_size": 4},
            "optimizer": {"warmup_steps": 1},
            "run": QUIET | {"steps": 2},
        },
        tmp_path,
    )
    examples = recipe.examples("train", tmp_path)
    with pytest.raises(InputError, match="holds latents instead of image"):
        for row in range(len(examples)):  # type: ignore[arg-type]
            examples[row, row]
    capsys.readouterr()
    assert main(["evaluate", str(base), "--dataset", str(packed), "-o", str(tmp_path / "r")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line for line in errors if line.startswith("error: ")] == errors[-1:]
    assert "holds latents instead of image" in errors[-1]


def test_labels_and_captions_are_kept(dataset: Path, packed: Path) -> None:
    before, after = DatasetFolder(dataset), DatasetFolder(packed)
    assert after.rows("train") == before.rows("train")
    assert {row.label for row in after.rows("validation")} == set(LABELS)


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
