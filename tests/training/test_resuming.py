"""Training states: a run resumes from them exactly, and nothing damages them."""

import itertools
import json
import os
import resource
import shutil
import signal
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from riffusion.datasets.folder import DatasetFolder
from riffusion.datasets.shard_writer import write_shards
from riffusion.errors import InputError, TrainingError
from tests.training.trainer_runs import (
    SAVE_EVERY,
    STEPS,
    autoencoder_config,
    die_after_step,
    exit_code,
    new_trainer,
    start,
    train,
    weights_of,
    write_config,
    write_errors_to,
)

LARGEST_FILE_BYTES = 4096
"""File size limit that stands for a full disk: below any network, above a test's output."""


@pytest.mark.parametrize("kill_at", [SAVE_EVERY + 1, 3 * SAVE_EVERY])
def test_a_killed_run_resumes_to_the_same_weights(
    dataset: Path, tmp_path: Path, kill_at: int
) -> None:
    """Killed after a step beyond its last state, or before the state of the step is saved."""
    train(autoencoder_config(dataset, tmp_path / "whole"), tmp_path)
    config = autoencoder_config(dataset, tmp_path / "broken")
    path = write_config(config, tmp_path / "broken.yaml")
    assert exit_code(start(path, partial(die_after_step, kill_at))) == -signal.SIGKILL
    last = (kill_at - 1) // SAVE_EVERY * SAVE_EVERY
    assert (tmp_path / f"broken/states/step-{last:08}").is_dir()
    assert not (tmp_path / f"broken/states/step-{last + SAVE_EVERY:08}").exists()
    assert not (tmp_path / "broken/checkpoint").exists()

    train(config, tmp_path)
    expected, found = weights_of(tmp_path / "whole"), weights_of(tmp_path / "broken")
    assert expected.keys() == found.keys()
    for name in expected:
        assert torch.equal(expected[name], found[name]), name


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_its_state(
    dataset: Path, tmp_path: Path
) -> None:
    config = autoencoder_config(dataset, tmp_path / "run")
    config["optimizer"] = {"learning_rate": 1e30, "warmup_steps": 0}
    config["run"]["save_every"] = 1
    with pytest.raises(TrainingError, match=r"loss=\S+ and .* at step \d+ must be finite; the st"):
        train(config, tmp_path)
    assert not (tmp_path / "run/checkpoint").exists()


def test_gradients_that_are_not_finite_do_not_reach_a_state(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", sample_every=0, validate_every=0)
    config["run"]["save_every"] = 1
    trainer = new_trainer(config, tmp_path)
    weight = next(trainer.recipe.objective.parameters())
    calls = itertools.count(1)
    weight.register_hook(lambda gradient: gradient * (torch.nan if next(calls) == 3 else 1))
    with pytest.raises(TrainingError, match=r"gradient_norm=nan at step 3 .* state of step 2 is"):
        trainer.train()
    kept = load_file(tmp_path / "run/states/step-00000002/model.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())


@pytest.mark.parametrize(
    ("section", "changes", "named"),
    [
        ("autoencoder", {"block_out_channels": [8, 16]}, "autoencoder.block_out_channels="),
        ("run", {"seed": 7}, "run.seed=0 then, 7 now"),
        ("optimizer", {"learning_rate": 1e-5}, "optimizer.learning_rate=0.005 then, 1e-05 now"),
    ],
)
def test_another_run_is_not_resumed(
    dataset: Path, tmp_path: Path, section: str, changes: dict[str, Any], named: str
) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    config[section] |= changes
    with pytest.raises(InputError, match="holds another run") as caught:
        train(config, tmp_path)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "unknown"),
    [
        ("row", ["data_sha256", "files_sha256"]),
        ("image", ["files_sha256"]),
        ("tar files", ["data_sha256"]),
    ],
)
def test_a_run_is_not_resumed_with_other_data(
    dataset: Path, tmp_path: Path, changed: str, unknown: list[str]
) -> None:
    """A row with another caption, another image, or tar files with another image."""
    copy = Path(shutil.copytree(dataset, tmp_path / "data"))
    data = tmp_path / "shards" if changed == "tar files" else copy
    folder = DatasetFolder(copy)
    write_shards(folder, tmp_path / "shards", 400)
    config = autoencoder_config(data, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    train(config, tmp_path)  # nothing has changed
    if changed == "tar files":
        shutil.rmtree(data)
        replace_image(folder)
        write_shards(folder, data, 400)
    elif changed == "image":
        replace_image(folder)
    else:
        rows = (data / "train/metadata.jsonl").read_text()
        (data / "train/metadata.jsonl").write_text(rows.replace('"text": "', '"text": "slow ', 1))
    with pytest.raises(InputError, match=r"data\.dataset=.*has changed since the run in") as caught:
        train(config, tmp_path)
    assert "\n" not in str(caught.value)
    run = json.loads((tmp_path / "run/run.json").read_text())
    for name in unknown:  # as of earlier versions, which resume
        del run[name]
    (tmp_path / "run/run.json").write_text(json.dumps(run))
    train(config, tmp_path)


def replace_image(folder: DatasetFolder) -> None:
    """Put the first image for training in the second one's place."""
    first, second = (folder.image_path("train", row) for row in folder.rows("train")[:2])
    assert first.read_bytes() != second.read_bytes()
    shutil.copyfile(first, second)


def test_a_run_that_knows_only_rows_is_not_resumed_with_others(
    dataset: Path, tmp_path: Path
) -> None:
    """Earlier versions kept no hash of the images."""
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    config = autoencoder_config(data, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    run = json.loads((tmp_path / "run/run.json").read_text())
    del run["files_sha256"]
    (tmp_path / "run/run.json").write_text(json.dumps(run))
    rows = (data / "train/metadata.jsonl").read_text()
    (data / "train/metadata.jsonl").write_text(rows.replace('"text": "', '"text": "slow ', 1))
    with pytest.raises(InputError, match=r"data\.dataset=.*has changed since the run in"):
        train(config, tmp_path)


def test_a_run_resumes_with_a_copy_of_its_data(dataset: Path, tmp_path: Path) -> None:
    """Other times, and another order of the files in the folders."""
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    config = autoencoder_config(data, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    before = data.rename(tmp_path / "before")
    for path in sorted((path for path in before.rglob("*") if path.is_file()), reverse=True):
        copied = data / path.relative_to(before)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)
        os.utime(copied, (0, 0))
    shutil.rmtree(tmp_path / "run/states/step-00000002")
    assert train(config, tmp_path).is_dir()


def test_a_run_from_before_keys_were_renamed_resumes(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    path = tmp_path / "run/run.json"
    identity = json.loads(path.read_text())
    identity["data"]["rolls"] = identity["data"].pop("circular_shifts")
    del identity["data"]["lanes"], identity["data"]["shuffle_shards"]  # came later
    path.write_text(json.dumps(identity))
    train(config, tmp_path)
    config["data"]["circular_shifts"] = 4
    with pytest.raises(InputError, match=r"data\.circular_shifts=2 then, 4 now"):
        train(config, tmp_path)


def test_a_damaged_state_is_named(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    state = tmp_path / "run/states/step-00000002"
    (state / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(TrainingError, match="step-00000002.*cannot be loaded"):
        train(config, tmp_path)


def test_a_full_disk_keeps_the_last_state(dataset: Path, tmp_path: Path) -> None:
    options = {"sample_every": 0, "validate_every": 0, "log_every": 1000}
    config = autoencoder_config(dataset, tmp_path / "run", **options)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(done: int, total: int) -> None:
        if done == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE_BYTES, limits[1]))

    trainer = new_trainer(config, tmp_path, progress=fill_up)
    try:
        with pytest.raises(TrainingError) as caught:
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = str(caught.value)
    assert "the state of step 6 cannot be written" in message and "from step 3" in message
    assert "\n" not in message
    assert sorted(p.name for p in (tmp_path / "run/states").iterdir()) == ["step-00000003"]
    train(config, tmp_path)


def test_unfinished_states_of_a_killed_run_are_deleted(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    states = tmp_path / "run/states"
    trainer = new_trainer(config, tmp_path)
    trainer.states.claim(trainer.config, trainer.recipe.folder.fingerprint)
    (states / ".unfinished").mkdir(parents=True)
    (states / ".unfinished/model.safetensors").write_bytes(b"incomplete")
    (states / "step-00000001 (a copy)").mkdir()
    trainer.train()
    left = {path.name for path in states.iterdir()}
    assert left == {"step-00000002", "step-00000001 (a copy)"}


def test_a_second_run_in_the_folder_is_refused_and_harms_nothing(
    dataset: Path, tmp_path: Path
) -> None:
    train(autoencoder_config(dataset, tmp_path / "alone", sample_every=0), tmp_path)
    config = autoencoder_config(dataset, tmp_path / "run", sample_every=0)
    path = write_config(config, tmp_path / "second.yaml")
    codes = []

    def start_another(done: int, total: int) -> None:
        if done in (1, SAVE_EVERY, STEPS):
            codes.append(exit_code(start(path, partial(write_errors_to, tmp_path / "errors.txt"))))

    new_trainer(config, tmp_path, progress=start_another).train()
    assert codes == [2, 2, 2]
    lines = (tmp_path / "errors.txt").read_text().splitlines()
    errors = [line for line in lines if "error" in line]
    assert errors == [
        f"error: output={str(tmp_path / 'run')!r} is in use by another run; wait until it ends, "
        "or choose another folder (the other run is "
        f"process {os.getpid()} on {socket.gethostname()})"
    ] * len(codes)
    alone, beside = weights_of(tmp_path / "alone"), weights_of(tmp_path / "run")
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    assert not (tmp_path / "run/.owner").exists()


def test_a_killed_run_does_not_lock_its_folder(dataset: Path, tmp_path: Path) -> None:
    """Nor do its loader processes, which notice their parent's death only after some seconds."""
    config = autoencoder_config(dataset, tmp_path / "run", steps=4, sample_every=0)
    config["data"]["num_workers"] = 1
    path = write_config(config, tmp_path / "first.yaml")
    assert exit_code(start(path, partial(die_after_step, 2))) == -signal.SIGKILL
    assert (tmp_path / "run/.owner").is_file()
    train(config, tmp_path)
    assert (tmp_path / "run/checkpoint").is_dir()


def test_a_folder_that_a_file_manager_opened_is_vacant(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert train(config, tmp_path).is_dir()


def test_curves_have_no_gap_where_a_run_was_resumed(dataset: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = autoencoder_config(dataset, tmp_path / "run", validate_every=3, sample_every=0)
    train(config, tmp_path)
    shutil.rmtree(tmp_path / f"run/states/step-{STEPS:08}")
    train(config, tmp_path)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("validation/loss")] == [3, 6, 9, 12]
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    assert list(losses) == [2, 4, 6, 8, 10, 12]
    assert losses[10] > 0.7 * losses[8]  # it would be half if step 9 counted as 0
