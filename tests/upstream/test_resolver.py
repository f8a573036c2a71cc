"""Look-ups: one at a time, beside the loop, used again for a while, and old ones rather than none."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading

import pytest

from gateway.upstream.resolver import Resolver, system_lookup
from tests.support.upstreams import PATIENCE, until, within


def info(address: str):
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))


class Names:
    """A DNS that answers when a test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers: queue.Queue[str | Exception] = queue.Queue()

    def __call__(self, host: str, port: int):
        assert (host, port) == ("claude.example", 443)
        assert threading.current_thread() is not threading.main_thread()
        self.asked += 1
        answer = self.answers.get(timeout=PATIENCE)
        if isinstance(answer, Exception):
            raise answer
        return [info(answer)]


def resolver(names: Names, *, fresh_for: float = 1000.0, patience: float = PATIENCE) -> Resolver:
    return Resolver("claude.example", 443, fresh_for=fresh_for, patience=patience, lookup=names)


TROUBLE = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_who_comes_together_asks_together_and_who_comes_soon_does_not_ask():
    names = Names()
    found = resolver(names)
    together = asyncio.gather(*(found.addresses() for _ in range(50)))
    await until(lambda: names.asked)
    names.answers.put("192.0.2.1")
    assert await within(together) == [[info("192.0.2.1")]] * 50
    assert await within(found.addresses()) == [info("192.0.2.1")]
    assert names.asked == 1


async def test_when_an_answer_is_old_dns_is_asked_again():
    names = Names()
    found = resolver(names, fresh_for=0.0)
    for address in ("192.0.2.1", "192.0.2.2"):
        names.answers.put(address)
        assert await within(found.addresses()) == [info(address)]


async def test_a_failure_is_not_kept():
    names = Names()
    found = resolver(names)
    names.answers.put(TROUBLE)
    with pytest.raises(socket.gaierror):
        await within(found.addresses())
    names.answers.put("192.0.2.1")
    assert await within(found.addresses()) == [info("192.0.2.1")]


async def test_old_addresses_are_used_when_dns_has_trouble():
    names = Names()
    found = resolver(names, fresh_for=0.0)
    for answer in ("192.0.2.1", TROUBLE):
        names.answers.put(answer)
        assert await within(found.addresses()) == [info("192.0.2.1")]


async def test_old_addresses_are_used_when_dns_hangs_and_new_ones_when_it_answers():
    names = Names()
    found = resolver(names, fresh_for=0.0, patience=0.01)
    names.answers.put("192.0.2.1")
    await within(found.addresses())
    for _ in range(3):
        assert await within(found.addresses()) == [info("192.0.2.1")]
    assert names.asked == 2  # the one that hangs is waited for, not joined by others
    names.answers.put("192.0.2.2")
    await until(lambda: found._running is None)
    assert found._known == [info("192.0.2.2")]


async def test_a_host_that_is_gone_is_gone():
    names = Names()
    found = resolver(names, fresh_for=0.0)
    names.answers.put("192.0.2.1")
    await within(found.addresses())
    for answer in (UNKNOWN, TROUBLE):
        names.answers.put(answer)
        with pytest.raises(socket.gaierror):
            await within(found.addresses())


async def test_whoever_leaves_does_not_end_it_for_the_others():
    names = Names()
    found = resolver(names)
    leaving = asyncio.get_running_loop().create_task(found.addresses())
    staying = asyncio.get_running_loop().create_task(found.addresses())
    await until(lambda: names.asked)
    leaving.cancel()
    names.answers.put("192.0.2.1")
    assert await within(staying) == [info("192.0.2.1")]
    assert leaving.cancelled()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_an_address_needs_no_look_up(address):
    def forbidden(host, port):
        raise AssertionError

    found = Resolver(address, 443, fresh_for=0.0, patience=0.0, lookup=forbidden)
    assert [entry[4][:2] for entry in await found.addresses()] == [(address, 443)]


async def test_the_system_knows_this_machine():
    assert "127.0.0.1" in [entry[4][0] for entry in await asyncio.to_thread(system_lookup, "localhost", 80)]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "x..y"])
async def test_the_systems_refusals_are_told(host):
    found = Resolver(host, 443, fresh_for=1.0, patience=1.0)
    with pytest.raises((OSError, ValueError)):
        await within(found.addresses())


def test_an_answer_that_comes_after_the_loops_end_is_nobodys():
    names = Names()

    async def ask():
        found = resolver(names)
        asking = asyncio.get_running_loop().create_task(found.addresses())
        await until(lambda: names.asked)
        asking.cancel()

    asyncio.run(ask())
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "look-up of claude.example"]
    assert thread.daemon
    names.answers.put("192.0.2.1")
    thread.join(PATIENCE)
    assert not thread.is_alive()
