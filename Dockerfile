# Tokenweir in a container: docker build -t tokenweir .
#
# Pin the base image by its digest in production:
#   docker build --build-arg PYTHON_IMAGE=python:3.13-slim-bookworm@sha256:<digest> -t tokenweir .
# `docker buildx imagetools inspect python:3.13-slim-bookworm` prints it.
#
# Run it with a read-only root file system; everything that it writes is in the volume:
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges \
#     -v tokenweir:/var/lib/tokenweir -p 8080:8080 -p 127.0.0.1:9464:9464 -e ANTHROPIC_API_KEY_FILE=/run/secrets/claude ...
#
# With what Bedrock and Vertex need (50 MB more): docker build --build-arg LOCK=clouds -t tokenweir .
# With the driver of PostgreSQL (13 MB more): --build-arg LOCK=postgresql; with traces (4 MB more): LOCK=otel;
# with several: --build-arg LOCK="clouds postgresql otel"
ARG PYTHON_IMAGE=python:3.13-slim-bookworm
ARG LOCK=runtime

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
ARG LOCK
WORKDIR /src
COPY requirements/runtime.lock requirements/clouds.lock requirements/postgresql.lock requirements/otel.lock \
     requirements/build.lock requirements/
# The dependencies are a layer of their own: it changes when the lock file does. --only-binary: no compiler is there.
# $LOCK is several words where there are several.
# hadolint ignore=SC2046
RUN python -m venv --without-pip /opt/tokenweir \
    && pip --python /opt/tokenweir install --require-hashes --no-deps --only-binary :all: $(printf -- '-r requirements/%s.lock ' $LOCK) \
    && pip install --require-hashes --no-deps --only-binary :all: -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/tokenweir install --no-deps --no-index /wheels/tokenweir-*.whl \
    && /opt/tokenweir/bin/python -m compileall -q /opt/tokenweir/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Tokenweir" \
      org.opencontainers.image.description="A self-hosted gateway in front of Claude" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 tokenweir \
    && useradd --uid 10001 --gid tokenweir --home-dir /var/lib/tokenweir --shell /usr/sbin/nologin tokenweir \
    && install -d -o tokenweir -g tokenweir -m 0700 /var/lib/tokenweir
COPY --from=build /opt/tokenweir /opt/tokenweir
# Inside a container the loopback address reaches nobody, so both listen on all addresses: publish 8080, and 9464 only
# where operators are. PYTHONDONTWRITEBYTECODE: the code is compiled already, and the file system may be read-only.
# No token is in the names below, whatever the linter thinks.
# hadolint ignore=DL3064
ENV PATH=/opt/tokenweir/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TOKENWEIR_DATA_DIR=/var/lib/tokenweir \
    TOKENWEIR_SERVER__LISTEN=0.0.0.0:8080 \
    TOKENWEIR_SERVER__OPS_LISTEN=0.0.0.0:9464
# A configuration file is found at /etc/tokenweir/config/gateway.toml.
WORKDIR /etc/tokenweir
USER 10001:10001
VOLUME /var/lib/tokenweir
EXPOSE 8080 9464
# SIGTERM drains: give the container at least drain_delay + drain_grace (docker stop --time, terminationGracePeriodSeconds).
STOPSIGNAL SIGTERM
# Liveness, not readiness: a container that drains is not to be killed for it. No curl is there, Python is.
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['TOKENWEIR_SERVER__OPS_LISTEN'].rpartition(':')[2] + '/livez', timeout=2)"]
# The gateway handles its signals itself and starts no other processes, so it is PID 1 without an init.
ENTRYPOINT ["tokenweir"]
CMD ["serve"]
