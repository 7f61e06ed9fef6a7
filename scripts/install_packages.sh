#!/usr/bin/env bash
# Installs Debian packages with apt-get, if it runs as root and RIFFUSION_INSTALL is not 0. It takes at most
# INSTALL_TIMEOUT_S seconds, 600 by default. If it fails, it prints the reason.
#
#   scripts/install_packages.sh NAME…
set -euo pipefail
timeout_s=${INSTALL_TIMEOUT_S:-600}

fail() {
    echo "$* not installed: $reason" >&2
    exit 1
}

reason="RIFFUSION_INSTALL=0 forbids it"
[ "${RIFFUSION_INSTALL:-1}" != 0 ] || fail "$@"
reason="only root may"
[ "$(id -u)" = 0 ] || fail "$@"
reason="there is no apt-get"
command -v apt-get >/dev/null || fail "$@"
reason="apt-get failed, or took longer than $timeout_s s"
echo "installing $* with apt-get" >&2
export DEBIAN_FRONTEND=noninteractive
options="-qq -o DPkg::Lock::Timeout=60 -o Acquire::Retries=1 -o Acquire::http::Timeout=30"
timeout -k 10 "$timeout_s" bash -c \
    'options=$0; apt-get $options update && apt-get $options install -y --no-install-recommends "$@"' \
    "$options" "$@" </dev/null >&2 || fail "$@"
