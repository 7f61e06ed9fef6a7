#!/usr/bin/env bash
# Runs the web app's tests in Node and in Chromium, and installs what they need if it can. Tests that cannot run are
# reported, also in the file LEFT_OUT if that is set, and are a failure only with RIFFUSION_REQUIRE_ALL=1. RIFFUSION is
# the command that the browser tests start a server with, and compare the static page with.
set -euo pipefail
cd "$(dirname "$0")/.."

left_out() {
    echo "left out: $1"
    [ -z "${LEFT_OUT:-}" ] || echo "left out: $1" >>"$LEFT_OUT"
    [ "${RIFFUSION_REQUIRE_ALL:-0}" != 1 ] || exit 1
}

if ! npm=$(scripts/web_tool.sh --install npm); then
    left_out "the web app's tests, in Node and in a browser: $(scripts/web_tool.sh npm 2>&1 || true)"
    exit 0
fi
unset MAKEFLAGS MFLAGS # set by make, if it runs this script
if ! make --no-print-directory web/node_modules/.package-lock.json; then
    left_out "the web app's tests, also those in a browser: npm could not install what they need; is the package index within reach?"
    exit 0
fi
make --no-print-directory -j2 web web-static # beside each other; a failed build is a failure
(cd web && "$npm" test --silent)
if CHROMIUM=$(scripts/web_tool.sh --install chromium); then
    export CHROMIUM
    (cd web && "$npm" run --silent e2e && "$npm" run --silent e2e-static-short)
else
    left_out "the tests in a browser: $(scripts/web_tool.sh chromium 2>&1 || true)"
fi
