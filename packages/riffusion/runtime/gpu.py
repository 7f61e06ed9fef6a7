"""Checks that the GPU can be used, where one is required.

PyTorch treats a driver that is too old like a machine without a GPU: `torch.cuda.is_available()` is
False, and everything runs on the CPU, a hundred times slower. A server for GPUs must not start so.
"""

import ctypes
import os
import subprocess

from riffusion.errors import DeviceError, InputError

REQUIRE_GPU = "RIFFUSION_REQUIRE_GPU"
"""Environment variable: 1 if the server must not run on a CPU. The bundle's config.yaml sets it."""
_REMEDY = f"or set {REQUIRE_GPU}=0 to serve from the CPU, about a hundred times slower"
_NVIDIA_SMI_TIMEOUT_S = 10.0


def check_required_gpu() -> None:
    """Check that CUDA works, if `RIFFUSION_REQUIRE_GPU` is 1 in the environment.

    Raises:
        InputError: the variable is neither 0 nor 1.
        DeviceError: a GPU is required and can't be used; the message names the driver, PyTorch's
            version of CUDA, and the remedy.
    """
    text = os.environ.get(REQUIRE_GPU, "0")
    if text not in ("0", "1"):
        raise InputError(f"{REQUIRE_GPU}={text!r} must be 0 or 1")
    if text == "0":
        return
    reason = _why_no_gpu()
    if reason is not None:
        raise DeviceError(f"{REQUIRE_GPU}=1, but no GPU can be used: {reason}; {_REMEDY}")


def _why_no_gpu() -> str | None:
    """Why CUDA can't be used, with the remedy; None if it can."""
    import torch  # takes seconds, and the process that starts the server needs only the name above

    built_for = torch.version.cuda
    if built_for is None:
        return (
            f"torch {torch.__version__} is built without CUDA; "
            "install the build for CUDA from the package index"
        )
    ours = f"torch {torch.__version__} is built for CUDA {built_for}"
    if torch.cuda.is_available():
        try:
            torch.zeros(1, device="cuda").add_(1).item()
        except RuntimeError as error:
            first_line = str(error).strip().partition("\n")[0]
            return (
                f"driver {_driver()}, {ours}, and a first sum fails ({first_line}); "
                "use a GPU and a driver that this build supports"
            )
        return None
    newest = cuda_of_driver()
    if newest is None:
        return f"there is no NVIDIA driver (libcuda.so.1), and {ours}; run on a host with a GPU"
    if newest[0] < int(built_for.partition(".")[0]):
        return (
            f"driver {_driver()} is too old: {ours}; "
            "update the driver, or install a torch that is built for the driver's CUDA"
        )
    return (
        f"driver {_driver()} shows no GPU to this process, and {ours}; give the container a GPU, "
        f"and check CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '(not set)')}"
    )


def cuda_of_driver() -> tuple[int, int] | None:
    """The newest version of CUDA that the driver supports, (major, minor); None without driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
        version = ctypes.c_int()
        status = library.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    if status != 0 or version.value == 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def _driver() -> str:
    """The driver in words: its own version, if `nvidia-smi` tells it, and that of its CUDA."""
    newest = cuda_of_driver()
    cuda = "of an unknown CUDA" if newest is None else f"for CUDA up to {newest[0]}.{newest[1]}"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=True
        )
        version = done.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return f"(version unknown, {cuda})"
    return f"{version} ({cuda})"
