"""What is wrong with a configuration although each of its values is allowed: parts that do not fit together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import urlsplit

from gateway.config.assemble import Config
from gateway.config.fields import Path
from gateway.config.kinds import misfits, missing_extra
from gateway.core.addresses import is_loopback
from gateway.core.plans import Limits, Plan
from gateway.core.quota.share import counted_limits
from gateway.database.address import parse_address
from gateway.database.errors import Refused
from gateway.traces.opening import installed
from gateway.upstream.proxy import proxy_for
from gateway.upstream.settings import UpstreamSettings
from gateway.web.tls import BadCertificate, server_tls

_CLAUDE = "api.anthropic.com"
_REDIS = frozenset({"redis", "rediss", "unix"})
_ALL_HOSTS = frozenset({"0.0.0.0", "[::]"})


def broken_references(config: Config) -> Iterator[tuple[Path, Any, str]]:
    """Yield the path, value and complaint of every name that leads nowhere, or is taken twice."""
    plans = ", ".join(sorted(config.plans))
    for index, mapping in enumerate(config.anonymous):
        if mapping.plan not in config.plans:
            yield ("anonymous", index, "plan"), mapping.plan, f"no such plan; allowed: {plans}"
    if config.upstream.ca_file is not None and not FilePath(config.upstream.ca_file).is_file():
        yield ("upstream", "ca_file"), config.upstream.ca_file, "no such file"
    try:
        server_tls(config.server)
    except BadCertificate as error:
        yield ("server", error.key), getattr(config.server, error.key), error.reason
    seen: set[str] = set()
    for index, upstream in enumerate(config.upstreams):
        if upstream.name in seen:
            yield ("upstreams", index, "name"), upstream.name, "another upstream has this name; metrics need them apart"
        seen.add(upstream.name)
        for key, complaint in misfits(upstream):
            yield ("upstreams", index, key), getattr(upstream, key), complaint


def problems(config: Config) -> list[str]:
    """Return why ``serve`` refuses to start with this configuration, each a sentence that says what to do."""
    found = [*_database(config), *_redis(config)]
    found += _shared_limits(config)
    if config.traces.endpoint is not None and not installed():
        found.append("traces.endpoint is set, and what makes spans is not installed: pip install 'tokenweir[otel]'.")
    if _same_address(config.server.listen, config.server.ops_listen):
        found.append(
            f"server.listen and server.ops_listen are both on port {config.server.listen.rpartition(':')[2]}: give the "
            "operators' endpoints a port of their own with --ops-listen."
        )
    found += [
        f"base_url of upstream {upstream.name} ends in /v1: leave that out, the routes bring it."
        for upstream in config.upstreams
        if upstream.kind == "anthropic" and (upstream.base_url.path or "").rstrip("/").endswith("/v1")
    ]
    found += [told for upstream in config.upstreams if (told := missing_extra(upstream)) is not None]
    found += [
        f"base_url of upstream {upstream.name} is this gateway ({config.server.listen}): requests would go round "
        "in a circle. If ANTHROPIC_BASE_URL is set for a client on this machine, unset it for the gateway."
        for upstream in config.upstreams
        if _is_ourselves(config.server.listen, upstream)
    ]
    found += _proxies(config)
    if not is_loopback(config.server.listen) and not config.server.allow_insecure:
        found += [
            f"server.listen is {config.server.listen}, and the anonymous plan {name} has no limit for all browsers "
            f"together: set plans.{name}.requests_per_minute or another limit, listen on a loopback address, "
            "or set server.allow_insecure."
            for name in sorted({mapping.plan for mapping in config.anonymous})
            if not has_total_limit(config.plans[name])
        ]
    return found


def _database(config: Config) -> Iterator[str]:
    """Yield why there can be no such database; whether it is there is not looked at."""
    try:
        parse_address(config.database_url)
    except Refused as error:
        yield str(error)


def _redis(config: Config) -> Iterator[str]:
    """Yield why there can be no such Redis; whether it is there is not looked at."""
    if config.redis_url is None:
        return
    url = urlsplit(config.redis_url.get_secret_value())
    if url.scheme not in _REDIS or not (url.path if url.scheme == "unix" else url.hostname):
        yield "redis_url names no Redis: allowed are redis://host:port/0, rediss://host:port/0 (TLS) and unix:///path."
    if config.limits.on_store_failure == "local" and config.limits.replicas < config.server.workers:
        yield (
            f"limits.replicas is {config.limits.replicas}, less than server.workers ({config.server.workers}): with "
            'limits.on_store_failure = "local" each process lets in its share, so count all workers of all machines.'
        )


def _shared_limits(config: Config) -> Iterator[str]:
    """Yield what would not hold with several workers, which count apart from each other."""
    workers = config.server.workers
    if workers == 1 or config.redis_url is not None:
        return
    anonymous = {mapping.plan for mapping in config.anonymous}
    limits = tuple(counted_limits(config.plans, anonymous, config.anonymous_default))
    if config.limits.per_worker:
        for key, amount in limits:
            if amount < workers:
                yield (
                    f"{key} is {amount}, less than server.workers ({workers}): there is no share of it for each. "
                    f"Set it to {workers} or more, or have fewer workers."
                )
    elif limits:
        keys = ", ".join(key for key, _ in limits)
        yield (
            f"server.workers is {workers}, and limits are in force ({keys}): each worker counts alone and would admit "
            "the whole of every limit. Set redis_url, and they count together; or limits.per_worker to true, which "
            f"gives each its share (a limit of {limits[0][1]} becomes {max(1, limits[0][1] // workers)} in each); or "
            "set server.workers to 1."
        )


def _proxies(config: Config) -> Iterator[str]:
    """Yield the proxies that cannot be used, only where an upstream needs them: the environment may mean others."""
    for upstream in config.upstreams:
        try:
            proxy_for(upstream.base_url, config.upstream)
        except ValueError as error:
            key = f"{upstream.base_url.scheme}_proxy"
            yield (
                f"upstream.{key} (or {key.upper()}) is none that upstream {upstream.name} can be reached through; "
                f"{error}. Set it to off, or name the upstream's host in no_proxy, to reach it directly."
            )


def _same_address(one: str, other: str) -> bool:
    """Say whether two addresses cannot both be listened on: the same port (0 is any), and one host or all of them."""
    (host, _, port), (other_host, _, other_port) = one.rpartition(":"), other.rpartition(":")
    return port == other_port != "0" and (host == other_host or not {host, other_host}.isdisjoint(_ALL_HOSTS))


def missing_credentials(config: Config) -> list[str]:
    """Return what to do for every upstream that is Claude itself and has no key; ``demo`` needs none."""
    return [
        f"upstream {upstream.name} is Claude's own API and has no key: set ANTHROPIC_API_KEY, ANTHROPIC_API_KEY_FILE "
        "or api_key under [[upstreams]]; or run `tokenweir demo`, which brings a pretend Claude."
        for upstream in config.upstreams
        if needs_credential(upstream)
    ]


def needs_credential(upstream: UpstreamSettings) -> bool:
    """Say whether the upstream cannot answer for want of a key; a compatible one may take none."""
    claude = upstream.kind == "anthropic" and upstream.base_url.host == _CLAUDE
    return claude and not upstream.api_key.get_secret_value()


def has_total_limit(plan: Plan) -> bool:
    """Say whether the plan limits its owner as a whole, so that many addresses cannot add up without end."""
    return any(getattr(plan, limit) is not None for limit in Limits.model_fields)


def _is_ourselves(listen: str, upstream: UpstreamSettings) -> bool:
    host, _, port = listen.rpartition(":")
    theirs = upstream.base_url.host or ""
    local = host in ("0.0.0.0", "[::]") or is_loopback(listen)
    return str(upstream.base_url.port) == port and (theirs == host or (local and is_loopback(f"{theirs}:{port}")))
