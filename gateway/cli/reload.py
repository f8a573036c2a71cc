"""SIGHUP in a process that serves alone: the configuration is read anew, and exchanged if it can be served with.

A configuration that cannot be is refused with one log line; the old one stays. A signal during a reload makes it begin
again afterwards, because what it had read may be old by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gateway.cli.errors import OperatorError
from gateway.config import Config
from gateway.database.errors import StoreError
from gateway.generation import Gateway, ReloadRefused
from gateway.log import configure_logging
from gateway.tasks import TaskOwner
from gateway.web.server import ListenError

log = structlog.get_logger()


class Reloads:
    """Reloads a gateway.

    Args:
        gateway: What serves.
        config: With what.
        reread: Reads the configuration anew; raises OperatorError where it cannot be served with.
        tty: Whether the log goes to a terminal.
    """

    def __init__(self, gateway: Gateway, config: Config, reread: Callable[[], Config], *, tty: bool) -> None:
        self._gateway = gateway
        self._config = config
        self._reread = reread
        self._tty = tty
        self._wanted = False
        self._tasks = TaskOwner(lambda error: log.error("the reload failed", exc_info=error))
        self._task: asyncio.Task[None] | None = None

    def want(self) -> None:
        """Reload; once more if one is under way."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = self._tasks.spawn(self._reload_all())

    async def close(self) -> None:
        """Give up the reload that is under way; the old configuration stays."""
        await self._tasks.close()

    async def _reload_all(self) -> None:
        while self._wanted:
            self._wanted = False
            try:
                await self._reload()
            except (OperatorError, ReloadRefused, StoreError, ListenError) as error:
                self._gateway.services.metrics.reloaded("refused")
                reason = "; ".join(str(error).splitlines())
                log.error("reload refused, the old configuration stays", reason=reason)  # noqa: TRY400 - no fault
            else:
                self._gateway.services.metrics.reloaded("done")
                log.info("configuration reloaded")

    async def _reload(self) -> None:
        config = await asyncio.to_thread(self._reread)
        log_to = configure_logging(config.log, tty=self._tty)
        try:
            await self._gateway.reload(config, log_to)
        except BaseException:
            configure_logging(self._config.log, tty=self._tty)
            raise
        self._config = config
