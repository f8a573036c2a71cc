"""``[server]``: addresses, bounds and deadlines of the side that clients see."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, IPvAnyNetwork

from gateway.core.units import Bytes, Seconds, WebOrigin

_LISTEN = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/\s]+):(\d{1,5})")
_HIGHEST_PORT = 65535


def _host_and_port(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if match is None or int(match[2]) > _HIGHEST_PORT:
        raise ValueError("allowed: HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080; 0.0.0.0 and [::] are all addresses")
    return value


Listen = Annotated[str, AfterValidator(_host_and_port)]


class ServerSettings(BaseModel):
    """Every buffer and deadline towards clients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: Listen = Field("127.0.0.1:8080", description="Address for everyone, HOST:PORT.")
    ops_listen: Listen = Field("127.0.0.1:9464", description="Address for operators: metrics, liveness, readiness.")
    tls_certificate: str | None = Field(
        None,
        examples=["/etc/tokenweir/tls.pem"],
        description="PEM file with the certificate and its chain: clients speak HTTPS then, and nothing else. Operators "
        "speak HTTP still. A reload reads it anew.",
    )
    tls_key: str | None = Field(
        None,
        examples=["/etc/tokenweir/tls.key"],
        description="PEM file with the certificate's key, without a password; unset when it is in the same file.",
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        1,
        description="Processes that serve. Unless redis_url is set each counts limits apart from the others: see "
        "limits.per_worker. From two on, one more small process starts and watches them.",
    )
    worker_start_timeout: Annotated[Seconds, Field(gt=0)] = Field(
        60.0,
        description="A worker of several that is not ready after it is ended: the start, or the reload, has failed. "
        "One takes a second or two, longer on a busy machine.",
    )
    worker_timeout: Annotated[Seconds, Field(ge=1)] = Field(
        30.0,
        description="A worker of several that does not answer the supervisor for so long is killed and replaced: its "
        "event loop stands still, and so does every stream of it.",
    )
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        (), description="Networks whose X-Forwarded-For is believed; the address of the connection counts otherwise."
    )
    cors_origins: tuple[WebOrigin, ...] = Field(
        (), description="Origins of browsers that bring a key, on every route. Mapped anonymous origins need no entry."
    )
    docs: Literal["auto", "on", "off"] = Field(
        "auto", description="/openapi.json and /docs: auto serves them on a loopback address only."
    )
    allow_insecure: bool = Field(
        False,
        description="Start on a public address with the demo key, or an anonymous plan without a tenant-wide limit.",
    )
    max_body: Bytes = Field(
        32 * 1024 * 1024, validate_default=True, description="Largest request body, Claude's own limit."
    )
    max_bodies: Bytes = Field(
        256 * 1024 * 1024, validate_default=True, description="All request bodies in memory together; past it 503."
    )
    max_request_line: Bytes = Field(
        256 * 1024,
        validate_default=True,
        description="Longest request line: the longest query that is taken is 100 KiB, a longer one gets a 414.",
    )
    max_header: Bytes = Field(
        32 * 1024, validate_default=True, description="Longest header line; cookies and lists of betas are the longest."
    )
    backlog: Annotated[int, Field(ge=1)] = Field(
        4096,
        description="Connections that wait to be accepted; the kernel may allow fewer (net.core.somaxconn). A wave of "
        "reconnecting clients is taken in one turn of the event loop.",
    )
    max_connections: Annotated[int, Field(ge=1)] = Field(
        20_000,
        description="Connections of clients to one worker, idle ones included; past it they get a 503 and are closed. "
        "Fewer if the limit of open files (ulimit -n) leaves no room: each stream needs a second one.",
    )
    max_streams: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Requests in flight in one worker; past it 503. An idle stream costs about 32 KiB."
    )
    max_loop_lag: Seconds = Field(
        0.25,
        description="New requests get a 503 while the event loop lags by more over a second or so, before running "
        "streams suffer; again admitted below half of it. 0 never refuses.",
    )
    header_timeout: Annotated[Seconds, Field(gt=0)] = Field(
        10.0,
        description="Longest time for the request line and the headers to arrive, from their first byte or from the "
        "connection's start; past it 408. A prompt of 16 KiB in a query string takes 6 s at 64 kbit/s.",
    )
    body_timeout: Seconds = Field(60.0, description="Longest time for a request body to arrive: 32 MiB at 4.5 Mbit/s.")
    keepalive_timeout: Seconds = Field(75.0, description="Idle client connections are closed after it, as nginx does.")
    heartbeat: Annotated[Seconds, Field(gt=0)] = Field(
        15.0, description="A comment goes out when nothing else did for so long; proxies cut silence at 30 to 60 s."
    )
    commit_after: Seconds = Field(
        10.0, description="Longest wait for the upstream's status before 200 and a heartbeat are sent."
    )
    write_buffer: Bytes = Field(
        64 * 1024, validate_default=True, description="Bytes waiting for a slow client at which the upstream pauses."
    )
    merge_after: Bytes = Field(
        16 * 1024,
        validate_default=True,
        description="Bytes not taken by a client of the chat route at which the texts of one read become one frame: "
        "200 tokens, seconds of an answer.",
    )
    send_buffer: Bytes = Field(
        256 * 1024, validate_default=True, description="Kernel send buffer of a client's socket (Linux doubles it)."
    )
    slow_client_timeout: Annotated[Seconds, Field(gt=0)] = Field(
        30.0, description="A client that takes nothing for so long, with bytes waiting, is dropped."
    )
    drain_delay: Seconds = Field(
        5.0, description="After SIGTERM still accepting for so long, so that load balancers notice readiness first."
    )
    drain_grace: Seconds = Field(
        120.0,
        description="Streams in flight may finish within it; the rest get an error frame that says a retry helps.",
    )
    drain_last_words: Seconds = Field(
        2.0, description="What is cut at the end of the grace period has so long to take that frame; then it is reset."
    )
    shutdown_timeout: Seconds = Field(
        1.0,
        description="At the very end a handler has so long to finish, and once more to notice that it was cancelled.",
    )

    @property
    def scheme(self) -> str:
        """What clients speak: ``http`` or ``https``."""
        return "http" if self.tls_certificate is None else "https"
