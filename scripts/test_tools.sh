#!/usr/bin/env bash
# Installs what Python's tests need beside the pinned requirements, if this is root on Debian. If that isn't possible, the
# tests are left out and named at the end; it is a failure only with RIFFUSION_REQUIRE_ALL=1. PYTHON is the .venv's.
set -euo pipefail
cd "$(dirname "$0")/.."

read -ra packages < <("$PYTHON" -m tests.needs)
[ ${#packages[@]} = 0 ] || scripts/install_packages.sh "${packages[@]}" || [ "${RIFFUSION_REQUIRE_ALL:-0}" != 1 ]
