#!/usr/bin/env bash
# Set up one thing that Make cannot:
#   tools/setup.sh venv PYTHON DIRECTORY | browser | nginx | proxies | node | postgresql | prometheus | redis | systemd
# What is there already is left alone. As root on Debian or Ubuntu missing packages are installed; else it is said which
# ones are missing. Without a Python nothing works, and nothing is checked without Node; without the others the tests that
# need them are skipped, but in CI.
set -euo pipefail

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Installed for a few tests, a server is not to be started, neither now nor at the next boot.
without_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        "$@"
        return
    fi
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    "$@"
}

install_packages() {
    echo "Installing $* ..."
    # The lists of a fresh machine or container are empty or old.
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

missing() { # NAME, packages
    local name=$1
    shift
    echo "$name is missing; on Debian and Ubuntu: apt-get install $*"
}

need() { # NAME, packages
    if can_install; then
        install_packages "${@:2}"
    else
        echo "error: $(missing "$@")" >&2
        exit 1
    fi
}

want() { # NAME, packages
    if can_install || [ -n "${CI:-}" ]; then
        need "$@"
    else
        echo "note: $(missing "$@"). The tests that need it are skipped." >&2
    fi
}

want_server() { # SERVICE, NAME, packages
    local service=$1
    shift
    if can_install; then without_services need "$@"; else want "$@"; fi
    if command -v systemctl >/dev/null; then systemctl disable --quiet "$service" 2>/dev/null || true; fi
}

setup_venv() { # PYTHON, DIRECTORY
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

setup_browser() {
    command -v chromium >/dev/null || want Chromium chromium
}

setup_nginx() {
    PATH=$PATH:/usr/sbin command -v nginx >/dev/null && return
    want_server nginx nginx nginx-light
}

setup_proxies() {
    setup_nginx
    PATH=$PATH:/usr/sbin command -v haproxy >/dev/null || want_server haproxy HAProxy haproxy
    command -v caddy >/dev/null || want_server caddy Caddy caddy
    command -v curl >/dev/null || want curl curl
}

# Tests start a server of their own. Debian has its programs on nobody's PATH.
setup_postgresql() {
    if command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
        return
    fi
    want_server postgresql PostgreSQL postgresql
}

setup_prometheus() {
    command -v promtool >/dev/null && command -v prometheus >/dev/null || want_server prometheus Prometheus prometheus
}

setup_redis() {
    if command -v redis-server >/dev/null || command -v valkey-server >/dev/null; then
        return
    fi
    want_server redis-server Redis redis-server
}

setup_systemd() { # its programs; nothing is started
    command -v systemd-analyze >/dev/null || want systemd-analyze systemd
}

# Debian 12's is too old. The wheel's goes beside the tools for development, where the Makefile's PATH finds it.
node_directory=$PWD/.venv/node
PATH=$node_directory:$PATH

setup_node() {
    local project
    node_is_new_enough || install_node || true
    if ! node_is_new_enough; then
        echo "error: Node.js 20.19 or newer is needed, with npm" >&2
        exit 1
    fi
    for project in tests/*/package-lock.json web/package-lock.json; do
        [ -f "$project" ] || continue
        npm_packages "$(dirname "$project")"
    done
}

node_is_new_enough() {
    command -v npm >/dev/null && node --eval '
        const [major, minor] = process.versions.node.split(".").map(Number)
        process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' 2>/dev/null
}

install_node() {
    [ -x .venv/bin/python ] || return 1
    echo "Installing Node.js into .venv ..."
    .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-input --require-hashes --no-deps \
        --only-binary :all: --requirement requirements/node.lock
    mkdir -p "$node_directory"
    ln -sf ../bin/node ../bin/npm ../bin/npx "$node_directory"
    hash -r # the shell remembers where the old one was
}

npm_packages() { # DIRECTORY: once for each lock file
    local installed=$1/node_modules/.installed
    if [ ! -f "$installed" ] || [ "$1/package-lock.json" -nt "$installed" ]; then
        echo "Installing the packages of $1 ..."
        npm ci --prefix "$1" --silent --no-audit --no-fund
        touch "$installed"
    fi
}

case "${1:-}" in
    venv | browser | nginx | proxies | node | postgresql | prometheus | redis | systemd) "setup_$1" "${@:2}" ;;
    *)
        echo "usage: tools/setup.sh venv PYTHON DIRECTORY | browser | nginx | proxies | node | postgresql | prometheus | redis | systemd" >&2
        exit 2
        ;;
esac
