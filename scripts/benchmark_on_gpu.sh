#!/usr/bin/env bash
# Runs python -m benchmarks.gpu_checks and benchmarks.full_size on a machine with a CUDA GPU, torch, torchaudio and
# transformers, but no network, in under 8 minutes. Copy the result from OUT to benchmarks/results on your machine, and run
# python -m benchmarks.report --only '' there to write docs/benchmarks.md.
#
#   scripts/benchmark_on_gpu.sh [OUT]        OUT is $OUT by default, or out/gpu
#
# The machine needs this tree with build/wheels, which scripts/collect_wheels.sh makes, or with a part of
# scripts/gpu_parts.py that holds them.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-${OUT:-out/gpu}}
python=${PYTHON:-python3}
source scripts/bare_machine.sh

"$python" scripts/gpu_parts.py join build/wheels
install_wheels
export PYTHONPATH="$PWD:$PYTHONPATH"
mkdir -p "$out"
# First what can go wrong, one line of JSON per check; a check that fails doesn't stop the table.
timeout --kill-after=10 270 "$python" -m benchmarks.gpu_checks --seconds 180 2>&1 | tee "$out/gpu_checks.log" ||
    echo "some checks failed or were cut off: see $out/gpu_checks.log"
timeout --kill-after=10 $((590 - SECONDS)) "$python" -m benchmarks.full_size 2>&1 | tee "$out/full_size.log"
cp benchmarks/results/full_size.json "$out/"
