"""``tokenweir`` as a user has it: a process of its own, in a directory of its own, with an environment of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.database.opening import open_database
from gateway.identity.pepper import load_peppers
from gateway.identity.store import Store

PATIENCE = 60.0  # a reload starts processes, on a machine that may have other things to do
ROOT = Path(__file__).resolve().parents[2]
_ADDRESSES = re.compile(r"https?://[^\s/]+:\d+")
_INHERITED = ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "PYTHONPATH")


@dataclass
class Ended:
    """A process that is over."""

    code: int
    out: str
    err: str

    @property
    def log(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]


@dataclass
class Tokenweir:
    """A gateway's process.

    Attributes:
        said: What it has printed so far.
    """

    process: asyncio.subprocess.Process
    said: str = ""
    url: str = ""
    ops_url: str = ""

    async def until(self, mark: str) -> str:
        """Return what it prints up to and with a line that holds the mark."""
        printed = ""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while mark not in printed:
                line = (await self.process.stdout.readline()).decode()
                if not line:
                    errors = (await self.process.stderr.read()).decode() if self.process.stderr else ""
                    raise AssertionError(f"it ended without {mark!r}: {printed}{errors}")
                printed += line
        self.said += printed
        return printed

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def reload(self) -> None:
        """Have it read its configuration anew, and wait until that is done."""
        self.signal(signal.SIGHUP)
        await self.until("configuration reloaded")

    async def refused_reload(self) -> str:
        """Have it read a configuration that it will not serve with; return the reason from the one line about it."""
        self.signal(signal.SIGHUP)
        line = json.loads((await self.until("reload refused")).splitlines()[-1])
        assert line["level"] == "error"
        return line["reason"]

    async def end(self) -> Ended:
        """Wait for its end."""
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, self.said + out.decode(), err.decode())


def _environment(variables: dict[str, str]) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # ResourceWarnings are printed on stderr, which the tests want empty.
    return {**inherited, "PYTHONWARNINGS": "default::ResourceWarning", **variables}


async def _stopped(process: asyncio.subprocess.Process) -> None:
    """Stop it as an operator would; the second Ctrl-C is for what still runs. Its pipes are read to their end."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.communicate(), PATIENCE)
    except TimeoutError:
        process.kill()
        await process.communicate()


@asynccontextmanager
async def process(
    directory: Path, *arguments: str, program: tuple[str, ...] = (sys.executable, "-m", "gateway"), **variables: str
) -> AsyncIterator[Tokenweir]:
    """Start ``tokenweir`` in a directory."""
    started = await asyncio.create_subprocess_exec(
        *program, *arguments,
        cwd=directory, env=_environment({"PYTHONPATH": str(ROOT), **variables}),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Tokenweir(started)
    finally:
        await _stopped(started)


def make_key(directory: Path, tenant: str = "acme", url: str = "") -> str:
    """Make a key in the data directory that a process there uses; quicker than the commands for it."""
    engine = open_database(url or f"sqlite:///{directory}/data/tokenweir.db")
    try:
        store = Store(engine, actor="test")
        store.ensure_tenant(tenant)
        return store.create_key(tenant, load_peppers(directory / "data", None))[1].text
    finally:
        engine.dispose()


async def command(directory: Path, *arguments: str, **variables: str) -> Ended:
    """Run ``tokenweir`` to its end."""
    async with process(directory, *arguments, **variables) as run:
        return await run.end()


@asynccontextmanager
async def serving(directory: Path, name: str, *arguments: str, **variables: str) -> AsyncIterator[Tokenweir]:
    """Run ``tokenweir serve`` or ``demo`` on free ports, and wait until it says that it serves."""
    ports = ("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
    async with process(directory, name, *ports, *arguments, **variables) as run:
        said = await run.until("Stop with Ctrl-C." if name == "demo" else "Tokenweir serves on")
        found = _ADDRESSES.findall(said)
        run.ops_url = re.findall(r"Operators +(http://[^\s/]+)", said)[0] if name == "demo" else found[1]
        run.url = re.findall(r"API +(http://\S+)", said)[0] if name == "demo" else found[0]
        yield run


@dataclass
class Terminal:
    """A process with a terminal of its own, as someone sits before it."""

    process: subprocess.Popen[bytes]
    fd: int
    said: bytes = b""

    def until(self, mark: bytes) -> bytes:
        """Return what it prints up to and with the mark."""
        before = len(self.said)
        while mark not in self.said[before:]:
            assert select.select([self.fd], [], [], PATIENCE)[0], self.said
            self.said += os.read(self.fd, 4096)
        return self.said[before:]

    def close(self) -> None:
        """Take the terminal away."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


@contextmanager
def on_a_terminal(directory: Path, *arguments: str, **variables: str) -> Iterator[Terminal]:
    """Start ``tokenweir`` on free ports, on a terminal."""
    ours, theirs = pty.openpty()
    ports = ("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
    started = subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments, *ports],
        cwd=directory, env=_environment({"PYTHONPATH": str(ROOT), **variables}),
        stdin=theirs, stdout=theirs, stderr=theirs,
        preexec_fn=partial(os.login_tty, theirs),  # noqa: PLW1509 - its tests have one thread
    )  # fmt: skip
    os.close(theirs)
    terminal = Terminal(started, ours)
    try:
        yield terminal
    finally:
        terminal.close()  # which ends it
        try:
            started.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
