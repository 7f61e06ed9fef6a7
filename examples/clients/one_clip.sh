#!/bin/sh
# Text to an MP3 file, by curl alone: one_clip.sh "church bells" bells.mp3
# The prompt may not contain " or \\ here. The answer holds the audio as a data URL: "audio":"data:audio/mpeg;base64,…".
set -eu
url=${RIFFUSION_URL:-http://127.0.0.1:3013}/run_inference/
answer=$(curl --silent --show-error --fail-with-body --max-time 120 -H "Content-Type: application/json" -d \
    "{\"start\": {\"prompt\": \"$1\", \"seed\": 42}, \"mode\": \"txt2img\", \"preset\": \"fast\"}" "$url") || {
    echo "$answer" >&2
    exit 1
}
printf %s "$answer" | sed 's/.*"audio":"data:audio\/mpeg;base64,\([^"]*\)".*/\1/' | base64 -d >"$2"
echo "Wrote $2"
