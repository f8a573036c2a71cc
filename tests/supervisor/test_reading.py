"""A child reads the configuration; whatever becomes of it, we have a configuration or a reason."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from gateway.supervisor import handover as handovers
from gateway.supervisor.children import Children
from gateway.supervisor.errors import Refused
from gateway.supervisor.handover import content, memory, write
from gateway.supervisor.reading import read_anew
from tests.support.observed import eventually
from tests.support.supervision import handover
from tests.support.workers import alive, files


@pytest.fixture
async def children():
    children, loop = Children(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, children.reap)
    yield children
    loop.remove_signal_handler(signal.SIGCHLD)


def saying(code: str) -> list[str]:
    """Return a command that takes the place of the interpreter: what follows its code are our arguments."""
    return [sys.executable, "-S", "-c", f"import os, sys\nout = int(sys.argv[-1])\n{code}"]


async def test_what_was_written_is_the_configuration_with_the_addresses_that_are_bound(children, tmp_path):
    found = handover(workers=3, config={"chat": {"model": "claude-x"}})
    file = tmp_path / "handover"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    write(found, fd)
    os.close(fd)
    current = handover(command=saying(f"os.write(out, open({str(file)!r}, 'rb').read())"), listen=[2, "x", 1])
    read = await read_anew(current, children)
    assert (read.workers, read.config, read.listen) == (3, {"chat": {"model": "claude-x"}}, [2, "x", 1])


async def test_what_it_says_is_the_reason(children):
    command = saying("print('error: one', file=sys.stderr); print('error: two', file=sys.stderr); raise SystemExit(2)")
    with pytest.raises(Refused, match=r"^one; two$"):
        await read_anew(handover(command=command), children)


async def test_one_that_is_killed_is_a_reason(children):
    with pytest.raises(Refused, match="it could not be read: status -15"):
        await read_anew(handover(command=saying("os.kill(os.getpid(), 15)")), children)


async def test_one_that_writes_nothing_is_a_reason(children):
    with pytest.raises(Refused, match="it could not be read: status 0"):
        await read_anew(handover(command=saying("")), children)


async def test_one_that_is_given_up_is_ended(children):
    before = files(os.getpid())
    reading = asyncio.ensure_future(read_anew(handover(command=saying("import time; time.sleep(1000)")), children))  # noqa: TID251
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (pid,) = children._ended
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await eventually(lambda: not children._ended)
    assert not alive(pid)
    assert files(os.getpid()) == before


def test_a_file_that_is_shared_is_read_from_its_beginning_by_each():
    fd = memory("text")
    assert content(fd) == content(fd) == b"text"
    os.close(fd)


def test_what_is_written_is_read():
    given = handover(workers=2, config={"server": {"listen": "x"}}, greeting="Hello")
    fd = memory()
    write(given, fd)
    assert handovers.read(fd) == given
    os.close(fd)
