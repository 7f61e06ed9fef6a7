#!/usr/bin/env bash
# Downloads to build/wheels the packages that `riffusion train` and benchmarks.full_size need besides torch, transformers,
# accelerate and tensorboard: about 9 MB, in the versions of requirements-train.txt. PyAV (40 MB) is left out, because
# neither command decodes or encodes audio files; scripts/bare_machine.sh replaces it by a placeholder.
#
#   [PYTHON_VERSION=3.12] scripts/collect_wheels.sh [MORE_NAMES…]      PYTHON_VERSION is that of the machine
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
names=(diffusers importlib-metadata pydantic pydantic-core annotated-types typing-inspection typing-extensions
    cachetools pydub array-api-compat threadpoolctl typer "$@")
platforms=(2_17 2_24 2_27 2_28 2_31 2_34)

for name in "${names[@]}"; do
    grep -qE "^$name==" requirements-train.txt ||
        { echo "error: $name is not in requirements-train.txt; name a package that is" >&2; exit 2; }
done
rm -rf build/wheels
mkdir -p build
# Their lines with their hashes, which pip then checks. Markers are left out: the machine isn't this one.
awk -v names=" ${names[*]} " '/^[^ ]/ { split($1, pin, "=="); wanted = index(names, " " pin[1] " "); if (wanted) print $1 " \\" } /^ / && wanted' \
    requirements-train.txt >build/wheels.txt
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version "${PYTHON_VERSION:-3.12}" --implementation cp \
    $(printf -- '--platform manylinux_%s_x86_64 ' "${platforms[@]}") --platform manylinux2014_x86_64 \
    --dest build/wheels --require-hashes --requirement build/wheels.txt
echo "Wrote build/wheels ($(find build/wheels -name '*.whl' | wc -l) wheels, $(du -sh build/wheels | cut -f1))"
