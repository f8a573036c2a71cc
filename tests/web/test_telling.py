"""Outcomes are told together, each once, and none is lost."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.pricing import PriceBook
from gateway.web.record import Record
from gateway.web.telling import Telling
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.scripted_upstream import scripted_upstream

CHAT = "/api/chat/stream"
LONG = 3600.0


class Told:
    """What a telling told."""

    def __init__(self, gather: float) -> None:
        self.counted: list[str] = []
        self.logged: list[str] = []
        self.faults: list[str] = []
        self.telling = Telling(PriceBook({}), self._observe, self._log, self._fault, gather)

    def _observe(self, outcome) -> None:
        self.counted.append(outcome.request_id)
        if outcome.request_id == "bad":
            raise RuntimeError("a bug")

    def _log(self, outcome, _address) -> None:
        self.logged.append(outcome.request_id)

    def _fault(self, _error, request_id) -> None:
        self.faults.append(request_id)


def _record(name: str) -> Record:
    return Record(request_id=name, method="GET", address="192.0.2.1")


async def test_without_gathering_each_is_told_at_once():
    told = Told(0)
    told.telling.tell(_record("a"))
    assert (told.counted, told.logged) == (["a"], ["a"])


async def test_of_very_many_each_is_told_once_in_order_and_others_have_their_turn():
    told, turns = Told(0.001), 0
    names = [str(n) for n in range(1000)]
    for name in names:
        told.telling.tell(_record(name))
    while len(told.logged) < 1000:
        await asyncio.sleep(0)
        turns += bool(told.logged)
    assert told.logged == told.counted == names
    assert turns > 10
    told.telling.tell(_record("next"))
    await eventually(lambda: told.logged[-1] == "next")


async def test_what_ends_within_the_time_is_told_together_in_order():
    told = Told(0.01)
    told.telling.tell(_record("a"))
    told.telling.tell(_record("b"))
    assert not told.counted
    await eventually(lambda: len(told.counted) == 2)
    assert told.logged == ["a", "b"]
    told.telling.tell(_record("c"))
    await eventually(lambda: told.logged == ["a", "b", "c"])


async def test_what_waits_is_told_when_asked_for_and_only_once():
    told = Told(LONG)
    told.telling.tell(_record("a"))
    told.telling.flush()
    told.telling.flush()
    assert told.logged == ["a"]


async def test_waiting_is_no_part_of_a_requests_duration():
    durations = []
    telling = Telling(PriceBook({}), lambda o: durations.append(o.duration), lambda *_: None, lambda *_: None, LONG)
    record = _record("a")
    telling.tell(record)
    ended = record.ended
    await asyncio.sleep(0)
    telling.flush()
    assert durations == [ended - record.started]


async def test_a_fault_in_telling_one_keeps_no_other_from_being_told():
    told = Told(LONG)
    for name in ("a", "bad", "b"):
        told.telling.tell(_record(name))
    told.telling.flush()
    assert (told.counted, told.logged, told.faults) == (["a", "bad", "b"], ["a", "b"], ["bad"])


@pytest.mark.parametrize("when", ["scrape", "end"])
async def test_a_scrape_and_the_end_tell_what_waits(tmp_path, when):
    config = configuration(tmp_path, "http://127.0.0.1:1", log={"gather": LONG})
    async with scripted_upstream(), observed(config) as (caller, outcomes):
        async with caller.session.post(caller.gateway.url + CHAT, json={"message": "hi"}) as response:
            assert response.status == 401
        assert not outcomes.all
        if when == "scrape":
            async with caller.session.get(caller.gateway.ops_url + "/metrics") as response:
                assert 'kind="refused"' in await response.text()
            assert len(outcomes.all) == 1
    assert [outcome.status for outcome in outcomes.all] == [401]
