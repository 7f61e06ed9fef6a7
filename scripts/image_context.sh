#!/usr/bin/env bash
# Writes the folder from which Docker builds the model's image, for hosts that don't build it themselves: as
# `truss image build-context` does, but the server runs as user 60000 instead of root, and every Python package is checked
# against the hashes of requirements-image.txt.
#
#   scripts/image_context.sh OUTPUT && docker build -t riffusion-model OUTPUT      BUNDLE=FOLDER takes another bundle
set -euo pipefail
[ $# = 1 ] || { echo "error: name one folder to write, such as build/image" >&2; exit 2; }
output=$(realpath -m "$1")
cd "$(dirname "$0")/.."

PATH=.venv/bin:$PATH
rm -rf "$output"
# Truss reads this variable; then its Dockerfile makes the user and gives it the server's folders.
BT_USE_NON_ROOT_USER=1 truss image build-context "$output" "${BUNDLE:-.}" >/dev/null
cp requirements-image.txt "$output/user_requirements.txt"
echo "# Everything that the server needs is in user_requirements.txt, with hashes." >"$output/requirements.txt"
# On a read-only root Python can't keep what it compiles, and would compile torch at each start.
sed -i 's/^RUN UV_HTTP_TIMEOUT=/RUN UV_COMPILE_BYTECODE=1 UV_HTTP_TIMEOUT=/' "$output/Dockerfile"
rm -rf "$output/build_hash" # a second copy of everything
echo "Wrote $output"
