#!/usr/bin/env bash
# Resolve the dependencies of pyproject.toml into requirements/*.lock, with hashes, for every Python and platform that
# is supported. dev.lock comes first, and the others hold its versions, so that tests run with what is deployed.
# tools/lock.sh PYTHON. `UPGRADE=--upgrade` takes the newest versions within the bounds.
set -euo pipefail

environment=.venv-lock
"$1" -m venv "$environment"
"$environment/bin/python" -m pip --disable-pip-version-check install --quiet 'uv>=0.9,<1'

compile() { # NAME, arguments
    local name=$1
    shift
    "$environment/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' ${UPGRADE:-} \
        --output-file "requirements/$name.lock" "$@"
}

mkdir -p requirements
compile dev pyproject.toml --group dev --all-extras
compile runtime pyproject.toml --constraint requirements/dev.lock
compile clouds pyproject.toml --extra bedrock --extra vertex --constraint requirements/dev.lock
compile postgresql pyproject.toml --extra postgresql --constraint requirements/dev.lock
compile otel pyproject.toml --extra otel --constraint requirements/dev.lock
compile build --group build --constraint requirements/dev.lock
compile node --group node
compile helm --group helm --constraint requirements/dev.lock
compile audit --group audit --constraint requirements/dev.lock
# A lock file that names a machine or an index works on one machine only.
if grep --line-number --extended-regexp '://|file:|^-' requirements/*.lock; then
    echo "error: a lock file names an index or a path" >&2
    exit 1
fi
