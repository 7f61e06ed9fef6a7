#!/usr/bin/env bash
# The web app's tests, in Node and in Chromium. What they need is installed where that may be done. What has to be
# left out is said; it is a failure only with RIFFUSION_REQUIRE_ALL=1. RIFFUSION is the command that the browser
# tests start a server with.
set -euo pipefail
cd "$(dirname "$0")/.."

left_out() {
    echo "left out: $1"
    [ "${RIFFUSION_REQUIRE_ALL:-0}" != 1 ] || exit 1
}

if ! npm=$(scripts/web_tool.sh --install npm); then
    left_out "the web app's tests, also those in a browser, as said above"
    exit 0
fi
unset MAKEFLAGS MFLAGS # of the make that may have started this
if ! make --no-print-directory web/node_modules/.package-lock.json; then
    left_out "the web app's tests, also those in a browser: npm could not install what they need; is the package index within reach?"
    exit 0
fi
make --no-print-directory web # a build that fails is a failure
(cd web && "$npm" test --silent)
if CHROMIUM=$(scripts/web_tool.sh --install chromium); then
    export CHROMIUM
    (cd web && "$npm" run --silent e2e)
else
    left_out "the tests in a browser, as said above"
fi
