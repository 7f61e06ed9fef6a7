"""A GPU that is required and can't be used: one line with driver, torch's CUDA and remedy."""

import ctypes
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model.model import Model
from riffusion.errors import DeviceError, InputError
from riffusion.runtime import gpu
from riffusion.runtime.gpu import REQUIRE_GPU, check_required_gpu, cuda_of_driver


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host whose driver is chosen; torch is built for CUDA 13.0 and finds no GPU."""

    def choose(
        cuda: int | None, version: str | None = None, built_for: str | None = "13.0"
    ) -> None:
        """Args: as `cuDriverGetVersion` gives it; the driver's own version; torch's CUDA."""

        def load(name: str, *args: Any, **options: Any) -> Any:
            assert name == "libcuda.so.1"
            if cuda is None:
                raise OSError("libcuda.so.1: cannot open shared object file")

            def get_version(pointer: Any) -> int:
                pointer._obj.value = cuda
                return 0

            return SimpleNamespace(cuDriverGetVersion=get_version)

        def smi(command: list[str], **options: Any) -> Any:
            if version is None:
                raise FileNotFoundError(command[0])
            return subprocess.CompletedProcess(command, 0, version + "\n" + version + "\n", "")

        monkeypatch.setattr(
            gpu, "ctypes", SimpleNamespace(CDLL=load, c_int=ctypes.c_int, byref=ctypes.byref)
        )
        monkeypatch.setattr(subprocess, "run", smi)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.version, "cuda", built_for)
        monkeypatch.setenv(REQUIRE_GPU, "1")

    return choose


@pytest.mark.parametrize(
    ("cuda", "version", "built_for", "expected"),
    [
        (12040, "550.54.14", "13.0", r"driver 550\.54\.14 \(for CUDA up to 12\.4\) is too old: "
         r"torch .* is built for CUDA 13\.0; update the driver"),
        (11080, "525.147.05", "12.8", r"525\.147\.05 .* up to 11\.8\) is too old: .* CUDA 12\.8"),
        (12090, None, "13.0", r"driver \(version unknown, for CUDA up to 12\.9\) is too old"),
        (13000, "580.65.06", "13.0", r"driver 580\.65\.06 .* shows no GPU .*CUDA_VISIBLE_DEVICES"),
        (12040, "550.54.14", "12.8", r"shows no GPU to this process"),
        (None, None, "13.0", r"no NVIDIA driver \(libcuda\.so\.1\), and torch .* CUDA 13\.0"),
        (0, None, "13.0", r"there is no NVIDIA driver"),
        (12040, "550.54.14", None, r"torch .* is built without CUDA; install the build for CUDA"),
    ],
)  # fmt: skip
def test_loading_fails_with_one_line(
    host: Any, cuda: int | None, version: str | None, built_for: str | None, expected: str
) -> None:
    host(cuda, version, built_for)
    with pytest.raises(DeviceError, match=expected) as caught:
        Model().load()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("RIFFUSION_REQUIRE_GPU=1, but no GPU can be used: ")
    assert "or set RIFFUSION_REQUIRE_GPU=0 to serve from the CPU" in message


def test_a_gpu_that_fails_at_its_first_sum_is_named(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host(13000, "580.65.06")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no kernel image is available\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(torch, "zeros", fail)
    with pytest.raises(DeviceError, match=r"first sum fails \(no kernel image is available\); use"):
        check_required_gpu()


@pytest.mark.parametrize("text", ["yes", "", "2", "true"])
def test_other_values_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE_GPU, text)
    with pytest.raises(InputError, match=f"RIFFUSION_REQUIRE_GPU='{text}' must be 0 or 1"):
        check_required_gpu()


@pytest.mark.parametrize("text", ["0", None])
def test_without_the_requirement_any_machine_will_do(
    text: str | None, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host(None)
    if text is None:
        monkeypatch.delenv(REQUIRE_GPU)
    else:
        monkeypatch.setenv(REQUIRE_GPU, text)
    check_required_gpu()


def test_the_version_comes_from_the_driver_if_there_is_one() -> None:
    version = cuda_of_driver()
    assert version is None or version >= (11, 0)
