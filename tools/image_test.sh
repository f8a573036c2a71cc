#!/usr/bin/env bash
# Build the image and run it as it is meant to be run: as its own user, with a read-only root and no capability.
# tools/image_test.sh (as root). It needs Debian's buildah, podman and debootstrap, and installs them.
#
# Where Docker's registry can be had, BASE=python:3.13-slim-bookworm builds on that. Else a base is made here from
# Debian's packages, with Debian's Python: the Dockerfile is the same.
set -euo pipefail
cd "$(dirname "$0")/.."

image=localhost/tokenweir:test
container=tokenweir-image-test
base=${BASE:-localhost/python:debian}

for program in buildah podman debootstrap runc; do
    command -v "$program" >/dev/null || packages+=("$program")
done
if [ -n "${packages+x}" ]; then
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

# Containers in containers: no systemd to ask for control groups and timers, no overlay file system, no raising of limits.
export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
run_podman() { podman --cgroup-manager cgroupfs --runtime runc "$@" 2> >(grep -v 'systemd connection' >&2); }

make_base() {
    local root
    root=$(mktemp -d)
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$root" >/dev/null
    ln -s python3 "$root/usr/bin/python"
    # Docker's Python lets pip install, Debian's does not; and what this machine trusts is trusted there.
    rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    tar --directory "$root" --create . | podman import --quiet - "$base" >/dev/null
    rm -rf "$root"
}

podman image exists "$base" || { [ -n "${BASE:-}" ] || make_base; }
buildah build --quiet --format docker --isolation chroot --network host --build-arg "PYTHON_IMAGE=$base" --build-arg LOCK="postgresql otel" \
    --tag "$image" . >/dev/null
podman image inspect "$image" --format 'built: {{.Size}} bytes, user {{.User}}'

trap 'run_podman rm --force --time 1 "$container" >/dev/null 2>&1; run_podman volume rm tokenweir-test >/dev/null 2>&1' EXIT
run_podman run --detach --name "$container" --network host --ulimit "nofile=$(ulimit -Hn)" --ulimit nproc=4096 \
    --read-only --cap-drop ALL --security-opt no-new-privileges \
    --volume tokenweir-test:/var/lib/tokenweir --env ANTHROPIC_API_KEY=sk-ant-test \
    --env TOKENWEIR_SERVER__LISTEN=127.0.0.1:18080 --env TOKENWEIR_SERVER__OPS_LISTEN=127.0.0.1:19464 "$image" >/dev/null

inside() { run_podman exec "$container" "$@"; }
until inside python -c 'import urllib.request as r; r.urlopen("http://127.0.0.1:19464/readyz")' 2>/dev/null; do
    [ "$(run_podman inspect "$container" --format '{{.State.Running}}')" = true ] || { run_podman logs "$container"; exit 1; }
    sleep 0.2
done
test "$(inside id -u)" = 10001 && echo "runs as user 10001"
inside sh -c '! touch /opt/tokenweir/x 2>/dev/null && ! touch /etc/x 2>/dev/null' && echo "its root is read-only"
inside grep -q 'CapEff:.0*$' /proc/1/status && echo "it has no capability"
inside python -c 'import psycopg, opentelemetry.sdk' && echo "the extras are there"
inside tokenweir tenants create shop && inside tokenweir keys create --tenant shop --json | cut -c1-20
run_podman healthcheck run "$container" && echo "its health check passes"
run_podman stop --time 135 "$container" >/dev/null
test "$(run_podman inspect "$container" --format '{{.State.ExitCode}}')" = 0 && echo "SIGTERM ends it with 0"
