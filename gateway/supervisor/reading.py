"""Reading the configuration anew, in a process that has the libraries for it, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess

from gateway.supervisor.children import Children
from gateway.supervisor.errors import Refused
from gateway.supervisor.handover import Handover, content, memory, read

_PATIENCE = 60.0


async def read_anew(current: Handover, children: Children) -> Handover:
    """Return what the configuration is now.

    Raises:
        Refused: It is wrong, or changes what cannot change while running.
    """
    out, said = memory(), memory()
    try:
        status = await _run([*current.command, "-m", "gateway", *current.arguments], out, said, children)
        if status or not content(out):
            lines = content(said).decode("utf-8", "replace").strip().splitlines()
            reason = "; ".join(line.removeprefix("error: ") for line in lines)
            raise Refused(reason or f"it could not be read: status {status}")
        found = read(out)
    finally:
        os.close(out)
        os.close(said)
    for name, before, now in zip(("listen", "ops_listen"), current.addresses, found.addresses, strict=True):
        if before != now:
            raise Refused(f"server.{name} was {before} and is {now}: that takes a restart")
    return found.bound(current.listen, current.ops_listen)


async def _run(command: list[str], out: int, said: int, children: Children) -> int:
    """Run it; what it writes for us goes to ``out``, what it says to ``said``."""
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    process = _started([*command, "--hand-over", str(out)], out, said)
    children.watch(process.pid, ended.set_result)
    try:
        async with asyncio.timeout(_PATIENCE):
            await asyncio.wait({ended})
    except TimeoutError:
        raise Refused(f"it could not be read within {_PATIENCE:g} s") from None
    finally:
        # Whatever becomes of it, nobody waits for it with ``process``.
        process.returncode = ended.result() if ended.done() else -9
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, 9)
    return ended.result()


def _started(command: list[str], out: int, said: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - ourselves
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=said,
        pass_fds=(out,),
        process_group=0,
    )
