#!/usr/bin/env bash
# Set up one thing that Make cannot: tools/setup.sh venv PYTHON DIRECTORY | browser | node
# What is there already is left alone. As root on Debian or Ubuntu missing packages are installed; else it is said
# which ones are missing.
set -euo pipefail

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

install_packages() {
    echo "Installing $* ..."
    # The lists of a fresh machine or container are empty or old.
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need() { # NAME, packages
    local name=$1
    shift
    if can_install; then
        install_packages "$@"
    else
        echo "error: $name is missing. Install it (on Debian and Ubuntu: apt-get install $*) and try again." >&2
        exit 1
    fi
}

venv() { # PYTHON, DIRECTORY
    local python=$1 directory=$2
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "error: $python is not Python 3.11 or newer; name another with make PYTHON=..." >&2
        exit 1
    fi
    # Debian leaves the module that puts pip into an environment to a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        need "Python's venv module" python3-venv
    fi
    "$python" -m venv --clear "$directory"
}

browser() {
    command -v chromium >/dev/null || need Chromium chromium
}

node() {
    local project
    for project in tests/*/package-lock.json web/package-lock.json; do
        [ -f "$project" ] || continue
        new_enough_node || need "Node.js 18 or newer" nodejs npm
        new_enough_node || { echo "error: Node.js is older than 18" >&2; exit 1; }
        packages "$(dirname "$project")"
    done
}

new_enough_node() {
    command -v npm >/dev/null && node_major=$(command node --version 2>/dev/null) && node_major=${node_major#v} &&
        [ "${node_major%%.*}" -ge 18 ]
}

packages() { # DIRECTORY: once for each lock file
    local installed=$1/node_modules/.installed
    if [ ! -f "$installed" ] || [ "$1/package-lock.json" -nt "$installed" ]; then
        echo "Installing the packages of $1 ..."
        npm ci --prefix "$1" --silent --no-audit --no-fund
        touch "$installed"
    fi
}

case "${1:-}" in
    venv | browser | node) "$@" ;;
    *) echo "usage: tools/setup.sh venv PYTHON DIRECTORY | browser | node" >&2; exit 2 ;;
esac
