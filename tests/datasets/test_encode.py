"""`riffusion dataset encode`: which rows it keeps, its cache, and its folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from riffusion.cli.app import main
from riffusion.datasets import latents as latents_module
from riffusion.datasets.encode import encode_dataset, thinned
from riffusion.datasets.folder import LATENTS_NAME, DatasetFolder, DatasetRow, Split
from riffusion.datasets.latents import LatentExamples
from riffusion.datasets.packed_latents import read_latents
from riffusion.errors import InputError
from riffusion.training.config import DataConfig
from tests.datasets.packed import HALF_PRECISION, LEVELS, base, config_of, dataset, packed, vae_of
from tests.datasets.striped_dataset import LABELS
from tests.training.recipe_runs import QUIET, new_recipe

__all__ = ["base", "dataset", "packed"]  # fixtures


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
