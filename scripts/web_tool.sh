#!/usr/bin/env bash
# Prints the path of a working tool that the web app needs. If there is none, it prints the reason and fails. With
# --install it first installs the tool if it can.
#
#   scripts/web_tool.sh [--install] npm | chromium        CHROMIUM is the path of a Chromium that is not in PATH
set -euo pipefail
cd "$(dirname "$0")/.."
oldest_node=18.19

npm_path() {
    local npm node version
    npm=$(command -v npm) && node=$(command -v node) ||
        { echo "npm is missing; install Node $oldest_node or newer with npm (apt-get install nodejs npm)"; return 1; }
    version=$("$node" --version 2>/dev/null) || version=broken
    if [ "$(printf 'v%s\n' "$oldest_node" "${version#v}" | sort -V | head -n 1)" != "v$oldest_node" ] ||
        [ "$version" = broken ]; then
        echo "$node is $version, and $oldest_node or newer is needed; install a newer Node, or put it first in PATH"
        return 1
    fi
    echo "$npm"
}

chromium_path() {
    local chromium
    chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)} ||
        { echo "Chromium is missing; apt-get install chromium, or set CHROMIUM to its path"; return 1; }
    timeout 60 "$chromium" --version >/dev/null 2>&1 ||
        { echo "$chromium does not run; install Chromium, or set CHROMIUM to the path of one that does"; return 1; }
    echo "$chromium"
}

if [ "$1" = --install ]; then
    shift
    case $1 in npm) packages=(nodejs npm) ;; chromium) packages=(chromium) ;; esac
    "$1_path" >/dev/null || scripts/install_packages.sh "${packages[@]}" || true
fi
if found=$("$1_path"); then
    echo "$found"
else
    echo "$found" >&2
    exit 1
fi
