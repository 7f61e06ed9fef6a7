# Source this from the root of the tree. It defines install_wheels, for a machine that has torch and transformers, but no
# network: it installs build/wheels (see scripts/collect_wheels.sh) for $python, and adds them and the tree to the path.

site=build/site

# A folder on the path, because a virtual environment that is created in another one does not see its packages.
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
    "$python" -c 'import av' 2>/dev/null || { mkdir -p "$site/av" && cp scripts/av_placeholder.py "$site/av/__init__.py"; }
    "$python" -c 'import diffusers, pydantic, pydub' 2>/dev/null || {
        echo "error: $python lacks diffusers, pydantic or pydub, and build/wheels doesn't hold them for its version; run scripts/collect_wheels.sh, and carry build/wheels to this machine" >&2
        return 2
    }
}
