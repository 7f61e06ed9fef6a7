#!/usr/bin/env bash
# Makes the pictures and clips of about.html with the embedded checkpoint: web/about_media.sh [riffusion]
set -euo pipefail
riffusion=${1:-riffusion}
out=$(dirname "$0")/public/about
seed_image=$(dirname "$0")/../data/seed_images/og_beat.png
mkdir -p "$out"

draw() { # NAME PROMPT SEED and further options
  "$riffusion" generate "$2" --seed "$3" --guidance 5 -o "$out/$1.mp3" --image "$out/$1.png" "${@:4}"
}

draw church_bells "church bells" 42 --steps 25
for steps in 2 5 25; do draw "steps_$steps" "church bells" 7 --steps "$steps"; done
cp "$seed_image" "$out/seed.png"
"$riffusion" image-to-audio --image "$seed_image" --audio "$out/seed.mp3"
draw denoising_50 "piano" 3 --steps 25 --seed-image og_beat --denoising 0.5
draw denoising_85 "piano" 3 --steps 25 --seed-image og_beat --denoising 0.85
"$riffusion" interpolate "church bells" "jazz trio" --seed 42 --steps-between 5 --steps 25 --guidance 5 \
  -o "$out/between.mp3" --images-dir "$out"
mv "$out/clip_000_alpha_0.000.png" "$out/between_0.png"
mv "$out/clip_002_alpha_0.500.png" "$out/between_50.png"
mv "$out/clip_004_alpha_1.000.png" "$out/between_100.png"
rm "$out"/clip_*.png
