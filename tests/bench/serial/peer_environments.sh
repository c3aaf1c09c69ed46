#!/bin/sh
# Installs the other programs that stream G-code, for bench_throughput.py: each into an environment of its own, because none of
# them may meet farmd's packages. Only their serial side is wanted, so that no windows toolkit comes along. What stands already
# is left alone; one that cannot be had is left out, and the bench says so.
set -eu
cd "$(dirname "$0")/../../.."

uv=.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv) || {
    echo "peer_environments: uv not found; run 'make setup' first" >&2
    exit 1
}

install() {
    environment=.venv-peers/$1
    shift
    [ -e "$environment/.installed" ] && return
    echo "peer_environments: installing $* into $environment" >&2
    "$uv" venv --quiet --clear "$environment" --python 3.11 &&
        "$uv" pip install --quiet --compile-bytecode --no-deps --python "$environment/bin/python" "$@" &&
        touch "$environment/.installed" ||
        echo "peer_environments: $1 could not be installed" >&2
}

install printrun printrun==2.2.0 pyserial==3.5 psutil==7.2.2
install marlin-host marlin-host==0.2.1 pyserial==3.5
.ci/octoprint-environment >&2 || echo "peer_environments: OctoPrint could not be installed" >&2
