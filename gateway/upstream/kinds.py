"""From its settings to an upstream, whatever its kind."""

from __future__ import annotations

from gateway.upstream.client import Upstream as Claude
from gateway.upstream.interface import Upstream
from gateway.upstream.pool import Observer, Spawn
from gateway.upstream.settings import TransportSettings, UpstreamSettings


def open_upstream(
    settings: UpstreamSettings, transport: TransportSettings, spawn: Spawn, observer: Observer | None = None
) -> Upstream:
    """Return an upstream that can be asked.

    Args:
        settings: Kind, address and credential.
        transport: Bounds and deadlines.
        spawn: Starts a task that is drained at shutdown.
        observer: Is told what happens to its connections.

    Raises:
        ValueError: The proxy on the way to it cannot be used.
    """
    if settings.kind == "anthropic":
        claude = Claude(settings, transport, spawn, observer)
        claude.pool.warm_up()
        return claude
    # Claude's SDK takes 50 MB and two seconds: only those pay for it who use it.
    from gateway.upstream.clouds import CloudUpstream  # noqa: PLC0415 - see above

    return CloudUpstream(settings, transport, spawn, observer)
