#!/usr/bin/env bash
# The web app's tests, in Node and in Chromium. What has to be left out is said; it is a failure only
# with RIFFUSION_REQUIRE_ALL=1. RIFFUSION is the command that the browser tests start a server with.
set -euo pipefail
cd "$(dirname "$0")/../web"

left_out() {
  echo "left out: $1"
  [ "${RIFFUSION_REQUIRE_ALL:-0}" != 1 ] || exit 1
}

if ! command -v npm >/dev/null || [ ! -e dist/index.html ] || [ ! -e node_modules/.package-lock.json ]; then
  left_out "the web app's tests, also those in a browser; install npm and Node 18.19 or newer (apt-get install nodejs npm)"
  exit 0
fi
npm test --silent
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [ -x "$CHROMIUM" ]; then
  export CHROMIUM
  npm run --silent e2e
else
  left_out "the tests in a browser, as Chromium is missing; apt-get install chromium, or set CHROMIUM to its path"
fi
