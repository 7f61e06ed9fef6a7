#!/usr/bin/env bash
# Trains or distills on a machine that has torch, transformers and a GPU, but no network, and a time limit for every command.
# Repeat the same command until it exits with 0: each one resumes the last one, and the final one writes the checkpoint.
#
#   scripts/train_on_gpu.sh [--seconds 540] [--fit S] [--out DIR] CONFIG [--set section.key=value]…
#
# --seconds   time limit of the whole script; the default leaves one of ten minutes
# --fit       lowers run.steps so that the training takes about S seconds in all: the first command of a run measures a step
# --out       folder for the results: train.log, and in parts of 15 MB checkpoint.tar.part-*, the result or before the end
#             the newest one of run.export_every; before the end also run.tar.part-*, the run's newest state, if both have
#             at most MAX_MB (60). Default $OUT, else out/gpu.
#
# The machine needs this tree; build/wheels, which scripts/collect_wheels.sh makes; and the data set of latents, which
# contains its VAE. If that is more than the machine takes at once, scripts/gpu_parts.py splits it, and this script joins it.
# To resume a run of another machine, it needs that run's run.tar.part-* in build/carried. A state of the demo's networks has
# 232 MB: it stays in the run's folder, where the next command on the same machine finds it.
#
# Exit status: 0 done; 75 out of time, run it again; 2 invalid arguments, or a part is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/bare_machine.sh

usage() { sed -n '2,/^#   scripts/s/^# \{0,1\}//p' "$0" >&2; exit 2; }

seconds=540
fit=0
out=${OUT:-out/gpu}
while [[ ${1:-} == --seconds || ${1:-} == --fit || ${1:-} == --out ]]; do
    [[ $# -ge 2 ]] || usage
    case $1 in
        --out) out=$2 ;;
        --fit) fit=$2 ;;
        *) seconds=$2 ;;
    esac
    shift 2
done
[[ $# -ge 1 && $seconds =~ ^[0-9]+$ && $fit =~ ^[0-9]+$ ]] || usage
config=$1
shift
python=${PYTHON:-python3}
max_mb=${MAX_MB:-60}

# described_run CONFIG…: the run's command and folder.
described_run() {
    "$python" - "$config" "$@" <<'RUN'
import sys
from riffusion.errors import InputError
from riffusion.training.config import load_config
words = sys.argv[2:]
try:
    config = load_config(sys.argv[1], [v for o, v in zip(words, words[1:]) if o == "--set"])
except InputError as error:
    sys.exit(f"error: {error}")
print("distill" if config.task == "distill" else "train", config.output)
RUN
}

newest_state() { find "$run/states" -maxdepth 1 -name 'step-*' 2>/dev/null | sort | tail -n 1 || true; }

# pack NAME MEMBER…: writes members of the run's folder to OUT/NAME.tar.part-00, …
pack() { tar -C "$run" -cf - "${@:2}" | split -b 15000000 -d -a 2 - "$out/$1.tar.part-"; }

# steps_of_run: run.steps of the run that was begun, or nothing.
steps_of_run() {
    [[ -f $run/run.json ]] || return 0
    "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["run"]["steps"])' "$run/run.json"
}

size_mb() { du -sm "$1" 2>/dev/null | cut -f1 || echo 0; }

mkdir -p "$out"
rm -f "$out"/{checkpoint,run}.tar.part-*
"$python" scripts/gpu_parts.py join
install_wheels
described=$(described_run "$@") || exit 2
command=${described%% *} run=${described#* }
"$python" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA GPU: training on the CPU")'
if [[ -z $(newest_state) ]] && compgen -G 'build/carried/run.tar.part-*' >/dev/null; then
    mkdir -p "$run"
    cat build/carried/run.tar.part-* | tar -C "$run" -xf -
    echo "carried on: $(newest_state)"
fi

if [[ $fit -gt 0 ]]; then
    steps=$(steps_of_run)
    [[ -n $steps ]] || steps=$("$python" scripts/steps_that_fit.py --seconds "$fit" "$config" "$@" | tail -n 1)
    set -- "$@" --set "run.steps=$steps"
fi

left=$((seconds - SECONDS))
status=0
[[ $left -gt 0 ]] || left=1
timeout --kill-after=10 "$left" "$python" -m riffusion "$command" "$config" "$@" 2>&1 | tee -a "$out/train.log" || status=$?
if [[ $status -eq 0 ]]; then
    members=(checkpoint)
    [[ -d $run/samples ]] && members+=(samples)
    pack checkpoint "${members[@]}"
    echo "done: cat checkpoint.tar.part-* | tar -x, in $out"
    exit 0
fi
state=$(newest_state)
room_mb=$max_mb
if [[ -n $state ]]; then
    state_mb=$(size_mb "$state")
    if [[ $state_mb -le $room_mb ]]; then
        pack run run.json "states/${state##*/}"
        room_mb=$((room_mb - state_mb))
        echo "${state##*/} ($state_mb MB) is in $out: put its parts into build/carried on another machine"
    else
        echo "${state##*/} ($state_mb MB, more than MAX_MB=$max_mb) stays in $run on this machine"
    fi
fi
if [[ -d $run/checkpoint && $(size_mb "$run/checkpoint") -le $room_mb ]]; then
    pack checkpoint checkpoint
    echo "the checkpoint of the run so far: cat checkpoint.tar.part-* | tar -x, in $out"
fi
[[ $status -eq 124 || $status -eq 137 ]] || exit "$status"
echo "out of time: run the same command again"
exit 75
