#!/usr/bin/env bash
# Installs the programs that Python tests need, if this is root on Debian. If that isn't possible, it says which tests are
# left out, and fails only with RIFFUSION_REQUIRE_ALL=1.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
command -v curl >/dev/null || packages+=(curl)
command -v fluidsynth >/dev/null || packages+=(fluidsynth)
[ -e /usr/share/sounds/sf3/MuseScore_General_Lite.sf3 ] || packages+=(musescore-general-soundfont-small)
[ ${#packages[@]} = 0 ] || scripts/install_packages.sh "${packages[@]}" || {
    echo "left out: the tests that need ${packages[*]}"
    [ "${RIFFUSION_REQUIRE_ALL:-0}" != 1 ] || exit 1
}
