# To be sourced, from the root of the tree: installs build/wheels (scripts/collect_wheels.sh) for $python on a machine
# with torch and transformers and no network, and puts them and the tree on the path.

site=build/site

# A folder on the path rather than a virtual environment, which does not see the packages of another one that it is made in.
install_wheels() {
    local wheels stamp
    wheels=$(find build/wheels -name '*.whl' 2>/dev/null | sort) || wheels=
    stamp="$("$python" -V) $wheels"
    if [[ -n $wheels && $stamp != "$(cat "$site/.stamp" 2>/dev/null)" ]]; then
        rm -rf "$site"
        "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --target "$site" $wheels
        echo "$stamp" >"$site/.stamp"
    fi
    mkdir -p "$site"
    export PYTHONPATH="$PWD/$site:$PWD/packages${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
    "$python" -c 'import av' 2>/dev/null || cat >"$site/av.py" <<'PLACEHOLDER'
"""In PyAV's place: its names, for modules that are imported and not called."""
from types import SimpleNamespace

AudioFrame = AudioStream = object
container = SimpleNamespace(InputContainer=object)
FFmpegError = OSError
PLACEHOLDER
}
