"""The harness measures itself: its clients straight at its upstream, over real sockets."""

import asyncio

import pytest

from tests.support.observed import eventually
from tools.bench.client import Client, Tally, request
from tools.bench.cores import choose
from tools.bench.measure import Place, measure, settled
from tools.bench.scenarios import SUBJECTS, Scenario, Subject
from tools.bench.upstream import Answer, Script, Upstream

DIRECT = SUBJECTS["direct"]


@pytest.fixture
async def place():
    upstream = Upstream(Script(10))
    server = await asyncio.get_running_loop().create_server(lambda: Answer(upstream), "127.0.0.1", 0)
    yield Place(upstream, server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()


def scenario(script: Script, kind: str = "load", **more) -> Scenario:
    return Scenario("T", "a test", script, ("direct",), kind=kind, **{"warm": 0.0, "window": 1.0, **more})


async def test_every_token_of_every_answer_arrives_and_is_counted(place):
    found = await measure(place, scenario(Script(10), clients=3, timed=True), DIRECT)
    assert found["problems"] == {}
    assert found["tokens_per_second"] > found["requests_per_second"] > 0
    assert 0 < found["ttft_p50_ms"] <= found["ttft_p99_ms"]
    assert found["delay_p50_ms"] > 0
    assert place.upstream.connections == set()


async def test_a_window_without_an_answer_is_a_problem(place):
    found = await measure(place, scenario(Script(10, first=60.0)), DIRECT)
    assert found["problems"] == {"nothing arrived in the window": 1}


async def test_an_answer_without_its_end_is_a_problem(place):
    wrong = Subject("direct", "direct", "/v1/messages", b"{}", b"never sent")
    tally = Tally(open=True)
    client = Client(place.target(wrong), 10, tally)
    await client.connect()
    await eventually(lambda: tally.problems)
    client.stop()
    assert "the end is missing" in next(iter(tally.problems))
    assert tally.streams == 0
    await settled(place.upstream)


async def test_departures_are_timed_also_in_silence(place):
    found = await measure(place, scenario(Script(2, first=60.0), "leave", clients=3), DIRECT)
    assert found["problems"] == {}
    assert found["closed_ms"] >= 0
    assert len(place.upstream.departures) == 3


async def test_a_slow_client_holds_back_the_upstream(place):
    found = await measure(place, scenario(Script(20_000, pad=1000), "slow", rate=100_000), DIRECT)
    assert found["problems"] == {}
    assert 0 < found["held_mib"] < 20


async def test_a_connection_that_is_lost_is_a_problem(place):
    tally = Tally()
    client = Client(place.target(DIRECT), 10, tally)
    place.upstream.script = Script(10, first=60.0)
    await client.connect()
    await eventually(lambda: place.upstream.connections)
    next(iter(place.upstream.connections))._transport.abort()
    await eventually(lambda: tally.problems)
    assert next(iter(tally.problems)).startswith("the connection was lost")
    await settled(place.upstream)


def test_a_request_says_how_long_it_is():
    assert request("/x", b"{}", {"authorization": "Bearer k"}) == (
        b"POST /x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: text/event-stream\r\n"
        b"authorization: Bearer k\r\ncontent-length: 2\r\n\r\n{}"
    )


def test_the_server_and_the_harness_have_a_core_each_where_there_are_two():
    assert (choose({3, 5, 7}, taskset=True).server, choose({3, 5, 7}, taskset=True).harness) == (3, 5)
    assert choose({0}, taskset=True).note
    assert choose({0, 1}, taskset=False).server is None
