"""Training states on disk, from which a run resumes exactly.

    OUTPUT/states/step-00000500/    accelerate's state: networks and optimizer
                                    averaged.safetensors: EMA weights, if EMA is on
    OUTPUT/run.json                 what must not change during a run: options, and the training
                                    data's fingerprint

A state is written to a temporary folder and renamed, so an unfinished state is never taken for a
complete one, even after a power cut. Order, crops, captions, timesteps and noise are determined by
the seed and the step, so nothing else needs to be saved.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from riffusion.errors import InputError, TrainingError
from riffusion.io.files import write_file
from riffusion.io.folders import is_vacant
from riffusion.training.config import TrainingConfig
from riffusion.training.config.former_keys import add_new_keys, rename_former_keys
from riffusion.training.ema import ExponentialMovingAverage

_RUN_NAME = "run.json"
_DATA_KEYS = ("data_sha256", "files_sha256")
_EMA_NAME = "averaged.safetensors"
_FREE_TO_CHANGE = {
    "run": {
        "compile",
        "log_every",
        "validate_every",
        "sample_every",
        "save_every",
        "export_every",
        "keep_states",
    },
    "data": {"num_workers", "keep_in_memory"},
    "sample": None,
    "output": None,
}
"""Options that may change when a run is resumed; None stands for the whole section."""


class TrainingStates:
    """The states of one run.

    Args:
        output: folder of the run.
        keep: number of latest states to keep.

    Attributes:
        ema: EMA weights that are saved and loaded with the states.
    """

    def __init__(self, output: Path, keep: int) -> None:
        self.output = output
        self.keep = keep
        self.ema: ExponentialMovingAverage | None = None

    def claim(self, config: TrainingConfig, fingerprint: Callable[[], Mapping[str, str]]) -> None:
        """Start a run in the folder, or check that the run in it has the same options and data.

        Args:
            config: its options.
            fingerprint: its training data's, `DatasetFolder.fingerprint`; called once the options
                are the same.

        Raises:
            InputError: the folder holds something else, or a run with other options, of which the
                first one that differs is named, or with other data; or the data can't be read.
            MediaError: an image of the data can't be read.
        """
        path = self.output / _RUN_NAME
        identity = _identity(config)
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(found, dict):
                    rename_former_keys(found)
                    add_new_keys(found)
            except ValueError as error:
                raise InputError(f"{path} is not JSON ({error}); choose another output") from error
            began_with = {}  # runs of earlier versions have none, or none of the files
            if isinstance(found, dict):
                began_with = {key: found.pop(key) for key in _DATA_KEYS if key in found}
            if found != identity:
                raise InputError(
                    f"output={str(self.output)!r} holds another run ({_difference(found, identity)}"
                    "); choose another output, or delete this one"
                )
            if began_with and not began_with.items() <= fingerprint().items():
                raise InputError(
                    f"data.dataset={config.data.dataset!r} has changed since the run in "
                    f"{str(self.output)!r} began, which would not resume exactly; put the former "
                    "data set back, or choose another output"
                )
            return
        if self.output.exists() and not is_vacant(self.output):
            raise InputError(
                f"output={str(self.output)!r} exists and is not a run; choose an empty folder"
            )
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"output={str(self.output)!r} cannot be created ({error.strerror})"
            ) from error
        values = {**identity, **fingerprint()}
        write_file((json.dumps(values, indent=2) + "\n").encode(), path)

    def latest_step(self) -> int:
        """Step of the latest state; 0 if there is none."""
        return max(self._steps(), default=0)

    def load(self, accelerator: Accelerator, step: int) -> None:
        """Load a state.

        Raises:
            TrainingError: the state is damaged.
        """
        try:
            accelerator.load_state(str(self._path(step)))
            if self.ema is not None:
                self.ema.load(self._path(step) / _EMA_NAME)
        except Exception as error:  # damaged pickles and tensors raise all kinds of errors
            reason = " ".join(str(error).split())[:300]
            raise TrainingError(
                f"state={str(self._path(step))!r} cannot be loaded ({reason}); delete it to resume "
                "from the one before"
            ) from error

    def save(self, accelerator: Accelerator, step: int) -> None:
        """Write a state, then delete the oldest ones. Must be called in every process.

        Raises:
            TrainingError: the state can't be written; earlier states are kept.
        """
        temporary = self.output / "states" / ".unfinished"
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)  # left behind by a killed run
        accelerator.wait_for_everyone()
        try:
            accelerator.save_state(str(temporary))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                if self.ema is not None:
                    self.ema.save(temporary / _EMA_NAME)
                _sync_to_disk(temporary)
                temporary.replace(self._path(step))
        except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError is torch.save's
            shutil.rmtree(temporary, ignore_errors=True)
            raise self.write_error(f"the state of step {step}", error) from error
        if accelerator.is_main_process:
            for old in sorted(self._steps())[: -self.keep]:
                shutil.rmtree(self._path(old), ignore_errors=True)

    def write_error(self, what: str, error: Exception) -> TrainingError:
        """The error for something that can't be written, for example because the disk is full."""
        reason = " ".join(str(error).split())
        return TrainingError(
            f"output={str(self.output)!r}: {what} cannot be written ({reason}); make room there "
            f"and run the same command again; it resumes from step {self.latest_step()}"
        )

    def _path(self, step: int) -> Path:
        return self.output / "states" / f"step-{step:08}"

    def _steps(self) -> list[int]:
        folders = (self.output / "states").glob("step-" + 8 * "[0-9]")
        return [int(path.name[5:]) for path in folders]


def _sync_to_disk(folder: Path) -> None:
    """Flush a folder's files to the disk, before the folder gets its final name."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _identity(config: TrainingConfig) -> dict[str, Any]:
    """The options that must not change during a run."""
    values: dict[str, Any] = json.loads(config.model_dump_json())
    for section, names in _FREE_TO_CHANGE.items():
        if names is None:
            values.pop(section)
        else:
            for name in names:
                values[section].pop(name)
    return values


def _difference(found: Any, wanted: Any, name: str = "") -> str:
    """The first value that differs, as `section.key=OLD then, NEW now`."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                return _difference(found.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
    return f"{name}={found!r} then, {wanted!r} now"
