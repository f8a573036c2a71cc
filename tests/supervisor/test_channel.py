"""Messages and descriptors between two ends of a channel."""

from __future__ import annotations

import asyncio
import os

import pytest

from gateway.supervisor.channel import Channel, pair


class End:
    """One end, and what it heard."""

    def __init__(self, sock) -> None:
        self.heard: list[tuple[dict, list[int]]] = []
        self.told = asyncio.Event()
        self.over = asyncio.Event()
        self.channel = Channel(sock, self._hear, self.over.set)

    def _hear(self, message, fds) -> None:
        self.heard.append((message, fds))
        self.told.set()

    async def next(self) -> tuple[dict, list[int]]:
        async with asyncio.timeout(15):
            while not self.heard:
                self.told.clear()
                await self.told.wait()
        return self.heard.pop(0)


@pytest.fixture
async def ends():
    one, other = (End(sock) for sock in pair())
    yield one, other
    one.channel.close()
    other.channel.close()


async def test_messages_arrive_whole_and_in_order(ends):
    one, other = ends
    one.channel.send("first", number=1)
    one.channel.send("second", text="ü" * 1000)
    assert await other.next() == ({"what": "first", "number": 1}, [])
    assert await other.next() == ({"what": "second", "text": "ü" * 1000}, [])


async def test_a_descriptor_arrives_as_one_that_no_child_inherits(ends):
    one, other = ends
    read, write = os.pipe()
    one.channel.send("take", [write])
    os.close(write)
    _, (fd,) = await other.next()
    os.write(fd, b"through")
    assert os.read(read, 10) == b"through"
    assert not os.get_inheritable(fd)
    for each in (fd, read):
        os.close(each)


async def test_the_end_of_the_other_side_is_told_once(ends):
    one, other = ends
    one.channel.close()
    async with asyncio.timeout(15):
        await other.over.wait()
    other.channel.send("nobody hears")
    other.channel.close()


async def test_what_came_before_the_end_is_heard(ends):
    one, other = ends
    one.channel.send("failed", reason="no database")
    one.channel.close()
    other.channel.read_rest()
    assert other.heard == [({"what": "failed", "reason": "no database"}, [])]
    assert other.over.is_set()


async def test_reading_the_rest_of_a_silent_side_waits_for_nothing(ends):
    _, other = ends
    other.channel.read_rest()
    assert not other.over.is_set()


async def test_a_side_that_does_not_read_is_not_waited_for(ends):
    one, _ = ends
    for _ in range(10_000):
        one.channel.send("status")
