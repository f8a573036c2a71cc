"""Workers made up of a few lines, so that a supervisor can be tried with all that a worker may do; they start quickly.

What a worker does is the code in its configuration. What the configuration is when it is read anew is in a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from gateway.supervisor.children import Children
from gateway.supervisor.group import Group
from gateway.supervisor.handover import Handover
from gateway.supervisor.journal import Journal

_DEFAULTS: dict[str, Any] = {
    "int": 1,
    "float": 15.0,
    "str": "",
    "list[str]": [],
    "list[Any]": [],
    "dict[str, Any]": {},
}

# What the interpreter is given in place of ours; the rest of its arguments is as ours has it.
_PROGRAM = """
import json, os, socket, sys, time
if "--hand-over" in sys.argv:
    os.write(int(sys.argv[-1]), open(sys.argv[3], "rb").read())
    raise SystemExit(0)
control = socket.socket(fileno=int(sys.argv[-3]))
def say(what, **more):
    control.send(json.dumps({"what": what, **more}).encode())
def orders():
    while message := control.recv(65536):
        yield json.loads(message)
def obey():
    for order in orders():
        if order["what"] == "status":
            say("status", checks={"keys": "ok"}, in_flight=2)
        elif order["what"] in ("drain", "stop"):
            raise SystemExit(0)
exec(json.loads(os.pread(int(sys.argv[-2]), 65536, 0))["does"])
"""
SERVES = 'say("ready", checks={"keys": "ok"})\nobey()'


def handover(**given: Any) -> Handover:
    values = {field.name: _DEFAULTS[str(field.type)] for field in fields(Handover)}
    return Handover(**(values | {"addresses": ["a:1", "b:2"], "level": "error"} | given))


class Supervised:
    """A group of made-up workers, and what its log says."""

    def __init__(self, group: Group, log: int, anew: Path) -> None:
        self.group = group
        self._log = log
        self._anew = anew
        self._left = b""

    async def said(self, event: str) -> dict[str, Any]:
        """Wait for a log line."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            while True:
                line, newline, rest = self._left.partition(b"\n")
                if newline:
                    self._left = rest
                    found = json.loads(line)
                    if found["event"] == event:
                        return found
                    continue
                ready = loop.create_future()
                loop.add_reader(self._log, lambda ready=ready: ready.done() or ready.set_result(None))
                await ready
                loop.remove_reader(self._log)
                self._left += os.read(self._log, 65_536)

    def write_anew(self, **given: Any) -> None:
        """Say what the configuration is when it is read anew."""
        changed = {"listen": [], "ops_listen": []} | given
        self._anew.write_text(json.dumps(asdict(self.group.handover) | changed))

    @property
    def pids(self) -> list[int]:
        """The workers that have a place."""
        return [member.pid for member in self.group._slots.workers if member is not None]


@asynccontextmanager
async def supervised(directory: Path, does: str = SERVES, **given: Any) -> AsyncIterator[Supervised]:
    """Give a group that is not started; its workers are gone afterwards."""
    anew = directory / "anew"
    children, loop = Children(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, children.reap)
    read, write = os.pipe()
    settings = {
        "command": [sys.executable, "-S", "-E", "-c", _PROGRAM],
        "arguments": [str(anew)],
        "listen": [2, "127.0.0.1", 0],
        "ops_document": '{"openapi":"3.1.0"}',
        "config": {"does": does},
        "workers": 2,
        "drain_delay": 0.0,
        "level": "info",
    }
    journal = Journal(write)
    group = Group(handover(**(settings | given)), journal, children)
    try:
        yield Supervised(group, read, anew)
    finally:
        await group.close()
        loop.remove_signal_handler(signal.SIGCHLD)
        os.close(read)
        os.close(write)
