"""The workers as one gateway: started, replaced when they die, exchanged at a reload, ended in order.

- Only one change at a time: a reload waits for a replacement, and the other way round.
- A new generation takes the connections when all of it is ready; until then, and if it fails, nothing has changed.
- The generation before finishes what it has. Connections that it holds may bring one more request, which it answers.
- A worker that dies is replaced at once, and after ever longer pauses if it dies young. Its sockets are taken care of
  meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterable

from gateway.supervisor.channel import Message
from gateway.supervisor.children import Children
from gateway.supervisor.counts import Counts
from gateway.supervisor.errors import Refused, StartFailed
from gateway.supervisor.handover import Handover, memory
from gateway.supervisor.journal import Journal
from gateway.supervisor.member import Member, in_words
from gateway.supervisor.merge import Look, Totals
from gateway.supervisor.reading import read_anew
from gateway.supervisor.slots import Slots
from gateway.supervisor.sockets import Doors
from gateway.tasks import TaskOwner

# Connections that the old generation holds are left open for one more request at least this long: one that was opened
# a moment ago has a request on its way.
_LAST_REQUEST = 1.0
# A worker that dies younger is not replaced at once.
_YOUNG = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# Questions to a worker that go unanswered before it is killed; they are asked in even parts of ``worker_timeout``.
_QUESTIONS = 4
_PATIENCE = 0.5  # below the second that probes wait for readiness


class Group:
    """All workers.

    Args:
        handover: The configuration.
        journal: The log.
        children: Tells of ends.

    Attributes:
        stopping: Whether this is the end.
    """

    def __init__(self, handover: Handover, journal: Journal, children: Children) -> None:
        self.handover = handover
        self.doors = Doors(handover.listen, handover.addresses[0])
        self.stopping = False
        self._journal = journal
        self._children = children
        self._config = memory(json.dumps(handover.config))
        self._slots: Slots[Member] = Slots()
        self._members: set[Member] = set()
        self._numbers = 0
        self._totals = Totals()
        self._counts = Counts()
        self._pauses: Counter[int] = Counter()
        self._changing = asyncio.Lock()
        self._changes = TaskOwner(journal.fault)
        self._endings = TaskOwner(journal.fault)
        self._reload_wanted = False
        self._reloading = False

    async def start(self) -> str | None:
        """Start the first generation, and let connections in when it is ready; return why that cannot be."""
        async with self._changing:
            try:
                self.doors.widen(self.handover.workers)
                members = await self._started(self.handover, self._config, _places(self.handover))
                self._seat(members)
            except StartFailed as error:
                return str(error)
        self._changes.spawn(self._watch())
        return None

    def reload(self) -> None:
        """Read the configuration anew and exchange the workers; again if asked meanwhile."""
        self._reload_wanted = True
        if not self._reloading and not self.stopping:
            self._reloading = True
            self._changes.spawn(self._reload())

    async def drain(self, delay: float) -> None:
        """End in order: unready, then closed, then without requests in flight."""
        await self._no_more_changes()
        self._journal.info("draining", delay=delay, grace=self.handover.drain_grace, workers=len(self._members))
        for member in self._members:
            member.unready()
        await asyncio.sleep(delay)
        self._close_doors()
        await asyncio.gather(*[self._see_off(member, 0.0) for member in self._members])

    async def stop(self) -> None:
        """End at once; what is in flight is told."""
        await self._no_more_changes()
        self._close_doors()
        for member in self._members:
            member.stop()
        await asyncio.gather(*[self._gone(member, self.handover.stop_timeout) for member in self._members])

    async def close(self) -> None:
        """Give everything back; the workers are gone, or are killed now."""
        await self._no_more_changes()
        await self._endings.close()
        self._close_doors()
        for member in tuple(self._members):
            member.kill()
            await asyncio.wait({member.gone})
        os.close(self._config)

    async def look(self) -> Look:
        """Return all metrics as they are now; workers that hang are waited for no longer than others are."""
        await self._answers([member for member in self._members if member.ready.done()])
        return self._totals.look([*(member.memory for member in self._members), self._counts.memory])

    async def readiness(self) -> tuple[dict[str, str], int]:
        """Return what was checked, with ``ok`` or what is wrong, and the number of requests in flight.

        One worker that is ready is enough: it takes the connections of the others. One that is there and unwell is
        too much: it takes some as well.
        """
        members = [member for member in self._members if member.ready.done()]
        answers = await self._answers(members)
        checks = {"workers": "ok" if any(self._slots.workers) else "none is ready"}
        for member, answer in zip(members, answers, strict=True):
            if answer is None:
                if member.serving:
                    checks["workers"] = f"worker {member.number} does not answer"
                continue
            for name, result in answer["checks"].items() if member.serving else ():
                checks[name] = result if checks.get(name, "ok") == "ok" else checks[name]
        if self.stopping:
            checks["drain"] = "draining"
        return checks, sum(answer["in_flight"] for answer in answers if answer is not None)

    async def _answers(self, members: list[Member]) -> list[Message | None]:
        """Ask workers how they are; they tell their counts what waits to be told, and do what they were told before."""
        return await asyncio.gather(*[member.status(_PATIENCE) for member in members])

    async def _reload(self) -> None:
        try:
            while self._reload_wanted:
                self._reload_wanted = False
                try:
                    async with self._changing:
                        await self._exchange()
                except (Refused, StartFailed) as error:
                    self._counts.reload("refused")
                    self._journal.error("reload refused, the old configuration stays", reason=str(error))
        finally:
            self._reloading = False

    async def _exchange(self) -> None:
        handover = await read_anew(self.handover, self._children)
        config = memory(json.dumps(handover.config))
        try:
            self.doors.widen(handover.workers)
            members = await self._started(handover, config, _places(handover), well=True)
        except BaseException:
            os.close(config)
            raise
        os.close(self._config)
        old, self.handover, self._config = self.handover, handover, config
        self._journal.configure(handover.log_format, handover.level)
        self._pauses.clear()
        before = self._seat(members)
        for member in before:
            self._endings.spawn(self._see_off(member, max(old.drain_delay, _LAST_REQUEST)))
        await self._answers(before)  # then they take no more connections
        self._counts.reload("done")
        self._journal.info("configuration reloaded", workers=[member.pid for member in members])

    def _seat(self, members: list[Member]) -> list[Member]:
        """Give the connections to a generation; return the one before."""
        self.doors.open(self.handover.backlog, self.handover.send_buffer)
        return self._slots.seat(members, len(self.doors.sockets))

    async def _started(
        self, handover: Handover, config: int, places: Iterable[int], *, well: bool = False
    ) -> list[Member]:
        """Return workers that are ready, and well if asked for; none of them lives on if one is not.

        Raises:
            StartFailed: One is not.
        """
        members = [self._spawn(handover, config, place) for place in places]
        try:
            waiting = {member.ready for member in members}
            await asyncio.wait(waiting, timeout=handover.start_timeout, return_when=asyncio.FIRST_EXCEPTION)
            # Those that know come first: what one says is a better reason than that another says nothing yet.
            for member in sorted(members, key=lambda member: not member.ready.done()):
                _check(member, handover.start_timeout, well=well)
        except BaseException:
            for member in members:
                member.dismissed = True
                member.kill()
            raise
        return members

    def _spawn(self, handover: Handover, config: int, place: int) -> Member:
        self._numbers += 1
        member = Member(handover.command, config, self._numbers, place + 1, self.doors.sockets, self._retiring)
        self._members.add(member)
        self._children.watch(member.pid, lambda status: self._ended(member, status))
        return member

    def _ended(self, member: Member, status: int) -> None:
        member.ended(status)
        self._members.discard(member)
        self._totals.retire(member.memory)
        place = self._slots.empty(member)
        member.close()
        if member.dismissed or (member.leaving and not status):
            return
        if place is not None or (member.ready.done() and not member.ready.exception()):
            self._counts.death()
            self._journal.error("a worker died", worker=member.pid, ended_with=in_words(status))
        if place is not None:
            young = asyncio.get_running_loop().time() - member.started < _YOUNG
            self._pauses[place] = self._pauses[place] + 1 if young else 0
            self._replace(place)

    def _retiring(self, member: Member) -> None:
        """Replace a worker that was told to end by someone else than us."""
        member.leaving = True
        place = self._slots.empty(member)
        if place is not None:
            self._journal.warning("a worker was told to end, and is replaced", worker=member.pid)
            self._pauses[place] = 0
            self._replace(place)

    def _replace(self, place: int) -> None:
        if not self.stopping:
            self._changes.spawn(self._refill(place))

    async def _refill(self, place: int) -> None:
        while True:
            times = self._pauses[place]
            await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (times - 1)) if times else 0.0)
            async with self._changing:
                if place >= len(self._slots.workers) or self._slots.workers[place] is not None:
                    return
                try:
                    (member,) = await self._started(self.handover, self._config, (place,))
                except StartFailed as error:
                    self._pauses[place] += 1
                    self._journal.error("a worker cannot be replaced yet", reason=str(error))
                    continue
                self._slots.fill(place, member)
                self._journal.info("a worker was replaced", worker=member.pid)
                return

    async def _watch(self) -> None:
        """Kill workers whose event loop does not turn: they hold connections and answer none."""
        while True:
            await asyncio.sleep(self.handover.worker_timeout / _QUESTIONS)
            for member in tuple(self._members):
                if member.unanswered >= _QUESTIONS:
                    self._journal.error("a worker does not answer, and is killed", worker=member.pid)
                    member.kill()
                elif member.ready.done():
                    member.ask()

    async def _see_off(self, member: Member, delay: float) -> None:
        """Have a worker finish what it has; kill it when it takes longer than it may."""
        member.drain(delay)
        await self._gone(member, delay + self.handover.drain_grace + self.handover.stop_timeout)

    async def _gone(self, member: Member, patience: float) -> None:
        await asyncio.wait({member.gone}, timeout=patience)
        if not member.gone.done():
            self._journal.error("a worker does not end, and is killed", worker=member.pid)
            member.kill()
            await asyncio.wait({member.gone})

    async def _no_more_changes(self) -> None:
        self.stopping = True
        await self._changes.close()

    def _close_doors(self) -> None:
        self._slots.close()
        self.doors.close()


def _places(handover: Handover) -> range:
    return range(handover.workers)


def _check(member: Member, patience: float, *, well: bool) -> None:
    if not member.ready.done():
        raise StartFailed(f"a worker was not ready within {patience:g} s")
    wrong = [f"{name}: {result}" for name, result in member.ready.result().items() if result != "ok"]
    if member.gone.done() or member.leaving:
        raise StartFailed("a worker ended before all were ready")
    if well and wrong:
        raise StartFailed("; ".join(wrong))
