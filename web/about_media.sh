#!/usr/bin/env bash
# Makes the images and clips of about.html with the embedded checkpoint. Usage: web/about_media.sh [.venv/bin]
set -euo pipefail
bin=${1:-$(dirname "$0")/../.venv/bin}
riffusion=$bin/riffusion
out=$(dirname "$0")/public/about
seed_image=$(dirname "$0")/../data/seed_images/og_beat.png
rest=$(mktemp -d)
trap 'rm -r "$rest"' EXIT
mkdir -p "$out"

generate() { # IMAGE CLIP PROMPT SEED, then further options
  "$riffusion" generate "$3" --seed "$4" --image "$1" -o "$2" "${@:5}"
}

generate "$rest/church_bells.png" "$out/church_bells.mp3" "church bells" 42 --steps 25
for steps in 2 5; do generate "$rest/steps_$steps.png" "$rest/clip.mp3" "church bells" 42 --steps "$steps"; done
cp "$seed_image" "$rest/seed.png"
"$riffusion" image-to-audio --image "$seed_image" --audio "$out/seed.mp3"
for percent in 50 85; do
  generate "$rest/denoising_$percent.png" "$out/denoising_$percent.mp3" "piano" 3 --steps 25 --seed-image og_beat --denoising "0.$percent"
done
generate "$rest/jazz_trio.png" "$rest/clip.mp3" "jazz trio" 42 --steps 25
"$riffusion" interpolate "church bells" "jazz trio" --seed 42 --steps-between 3 --steps 25 -o "$out/between.mp3" --images-dir "$rest"
mv "$rest/clip_001_alpha_0.500.png" "$rest/between.png"
rm "$rest"/clip*

"$bin/python" - "$out" "$rest"/*.png <<'CONVERT'
import sys
from pathlib import Path
from PIL import Image

for path in map(Path, sys.argv[2:]):
    Image.open(path).convert("RGB").save(Path(sys.argv[1]) / f"{path.stem}.webp", quality=80, method=6)
CONVERT
