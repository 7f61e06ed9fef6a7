"""States of a run on disk, from which it goes on exactly.

    OUTPUT/states/step-00000500/    accelerate's state: networks and optimizer
                                    averaged.safetensors: the averaged weights, if there are any
    OUTPUT/run.json                 what the run is of: the configuration's parts that must not
    change

A state is written beside its place and renamed, so an unfinished one is never taken for a good one,
even after a power cut.
Since order, crops, captions, timesteps and noise follow from the seed and the step, there is
nothing else to remember.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from riffusion.errors import InputError, TrainingError
from riffusion.io.files import write_file
from riffusion.training.config import TrainingConfig
from riffusion.training.ema import ExponentialMovingAverage

_RUN_NAME = "run.json"
_AVERAGE_NAME = "averaged.safetensors"
_FREE_TO_CHANGE = {
    "run": {"log_every", "validate_every", "sample_every", "save_every", "keep_states"},
    "data": {"num_workers", "keep_in_memory"},
    "sample": None,
    "output": None,
}
"""Options that may differ when a run goes on; None is a whole section."""


class TrainingStates:
    """The states of one run.

    Args:
        output: folder of the run.
        keep: how many of the latest states stay.

    Attributes:
        average: averaged weights that belong to the states.
    """

    def __init__(self, output: Path, keep: int) -> None:
        self.output = output
        self.keep = keep
        self.average: ExponentialMovingAverage | None = None

    def claim(self, config: TrainingConfig) -> None:
        """Make the folder this run's, or check that it already is.

        Raises:
            InputError: it holds something else, or a run with other options, of which one is named.
        """
        path = self.output / _RUN_NAME
        identity = _identity(config)
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(f"{path} is not JSON ({error}); choose another output") from error
            if found != identity:
                raise InputError(
                    f"output={str(self.output)!r} holds another run ({_difference(found, identity)}"
                    "); choose another output, or delete this one"
                )
            return
        if self.output.exists() and (not self.output.is_dir() or any(self.output.iterdir())):
            raise InputError(
                f"output={str(self.output)!r} exists and is not a run; choose an empty folder"
            )
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"output={str(self.output)!r} cannot be made ({error.strerror})"
            ) from error
        write_file((json.dumps(identity, indent=2) + "\n").encode(), path)

    def latest_step(self) -> int:
        """Step of the latest state; 0 if there is none."""
        return max(self._steps(), default=0)

    def load(self, accelerator: Accelerator, step: int) -> None:
        """Go on from a state.

        Raises:
            TrainingError: it is damaged.
        """
        try:
            accelerator.load_state(str(self._path(step)))
            if self.average is not None:
                self.average.load(self._path(step) / _AVERAGE_NAME)
        except Exception as error:  # whatever damage does to pickles and tensors
            reason = " ".join(str(error).split())[:300]
            raise TrainingError(
                f"state={str(self._path(step))!r} cannot be loaded ({reason}); delete it to go on "
                "from the one before"
            ) from error

    def save(self, accelerator: Accelerator, step: int) -> None:
        """Write a state, then forget the oldest. Call it in every process.

        Raises:
            TrainingError: it can't be written; earlier states are left as they are.
        """
        temporary = self.output / "states" / ".unfinished"
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
        accelerator.wait_for_everyone()
        try:
            accelerator.save_state(str(temporary))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                if self.average is not None:
                    self.average.save(temporary / _AVERAGE_NAME)
                _bring_to_disk(temporary)
                temporary.replace(self._path(step))
        except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError is torch.save's
            shutil.rmtree(temporary, ignore_errors=True)
            raise self.write_error(f"the state of step {step}", error) from error
        if accelerator.is_main_process:
            for old in sorted(self._steps())[: -self.keep]:
                shutil.rmtree(self._path(old), ignore_errors=True)

    def write_error(self, what: str, error: Exception) -> TrainingError:
        """The error for something that can't be written, such as on a full disk."""
        reason = " ".join(str(error).split())
        return TrainingError(
            f"output={str(self.output)!r}: {what} cannot be written ({reason}); make room there "
            f"and run the same command again, it goes on from step {self.latest_step()}"
        )

    def _path(self, step: int) -> Path:
        return self.output / "states" / f"step-{step:08}"

    def _steps(self) -> list[int]:
        folders = (self.output / "states").glob("step-" + 8 * "[0-9]")
        return [int(path.name[5:]) for path in folders]


def _bring_to_disk(folder: Path) -> None:
    """Wait until a folder's files are on the disk, before the folder gets its name."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _identity(config: TrainingConfig) -> dict[str, Any]:
    """What must not change in the middle of a run."""
    values: dict[str, Any] = json.loads(config.model_dump_json())
    for section, names in _FREE_TO_CHANGE.items():
        if names is None:
            values.pop(section)
        else:
            for name in names:
                values[section].pop(name)
    return values


def _difference(found: Any, wanted: Any, name: str = "") -> str:
    """The first value that differs, as `section.key: then → now`."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                return _difference(found.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
    return f"{name}={found!r} then, {wanted!r} now"
