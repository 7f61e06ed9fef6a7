#!/usr/bin/env bash
# Measures the full Stable Diffusion 1.5 shape on a bare machine with a CUDA GPU, torch, torchaudio and transformers, without
# a network, in under 8 minutes: python -m benchmarks.full_size. Its result is left in OUT, for benchmarks/results here;
# then python -m benchmarks.report --only '' writes docs/benchmarks.md.
#
#   scripts/benchmark_on_gpu.sh [OUT]        $OUT, else out/gpu. build/wheels, by scripts/collect_wheels.sh, comes along.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-${OUT:-out/gpu}}
python=${PYTHON:-python3}
source scripts/bare_machine.sh

install_wheels
export PYTHONPATH="$PWD:$PYTHONPATH"
mkdir -p "$out"
timeout --kill-after=10 $((590 - SECONDS)) "$python" -m benchmarks.full_size 2>&1 | tee "$out/full_size.log"
cp benchmarks/results/full_size.json "$out/"
