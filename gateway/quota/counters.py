"""The counters of one process: slots, sliding windows, and the calendar's periods.

- Every change is a move of what is held and of what is used, at the time of an admission: taking is held + n, settling
  held - n and used + m, and so on. What a period that is over was told is of no use to anybody, and is dropped.
- Counters exist only for what was admitted: a refused request creates none, and one that counts nothing any more is
  dropped. Their number is bounded by the admissions of one window or period, and by ``most`` in the worst case: past
  it, a request that would need a new counter is refused, because forgetting a counter would lift its limit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from gateway.core.quota.calendar import Calendar, Period, Span
from gateway.core.quota.holds import HELD_RETRY_AFTER, LimitState
from gateway.core.quota.limits import AppliedLimit
from gateway.core.quota.windows import MINUTE_BUCKETS, SlidingWindow


class Moment(NamedTuple):
    """One time on both clocks: seconds of the monotonic one, which windows slide by, and Unix seconds."""

    monotonic: float
    unix: float


class Wait(NamedTuple):
    """Why a limit does not admit: seconds until it may, None for never; and whether only its next period helps."""

    seconds: float | None
    spent: bool = False


class _Window:
    """A sliding window, and how much of it is held; the count holds both."""

    __slots__ = ("counter", "held")

    def __init__(self, length: float) -> None:
        self.counter = SlidingWindow(length, MINUTE_BUCKETS)
        self.held = 0


class _Budget:
    """A period's counter."""

    __slots__ = ("held", "used")

    def __init__(self, used: int = 0) -> None:
        self.held = 0
        self.used = used


class Counters:
    """All counters of a process.

    Args:
        calendar: Where days and months begin.
        most: Windows and budgets at most (0.5 KiB each, up to 5 KiB for a busy window).
    """

    def __init__(self, calendar: Calendar, most: int) -> None:
        self._calendar = calendar
        self._most = most
        self._slots: dict[str, int] = {}
        # By length, each in the order of its last addition, so that what is idle is at the front.
        self._windows: dict[float, OrderedDict[str, _Window]] = {}
        self._budgets: dict[Span, tuple[Period, dict[str, _Budget]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self._slots)

    def wait(self, limit: AppliedLimit, amount: int, now: Moment) -> Wait | None:
        """Return how long ``amount`` has to wait for ``limit``; None when it does not."""
        if not amount:
            return None
        if amount > limit.amount:
            return Wait(None)
        if limit.span is not None:
            return self._wait_for_budget(limit, limit.span, amount, now)
        if limit.window is None:
            return None if self._slots.get(limit.key, 0) + amount <= limit.amount else Wait(HELD_RETRY_AFTER)
        window = self._find(limit.key, limit.window)
        if window is None:
            return None if self._count < self._most else Wait(limit.window)
        seconds = window.counter.retry_after(amount, limit.amount, now.monotonic)
        return Wait(seconds) if seconds else None

    def _wait_for_budget(self, limit: AppliedLimit, span: Span, amount: int, now: Moment) -> Wait | None:
        period, budgets = self._period(span, now.unix)
        budget = budgets.get(limit.key)
        if budget is None:
            return None if self._count < self._most else Wait(HELD_RETRY_AFTER)
        if budget.used + budget.held + amount <= limit.amount:
            return None
        # What others hold may come back any moment; what was used does not.
        if budget.used + amount <= limit.amount:
            return Wait(HELD_RETRY_AFTER)
        return Wait(period.end - now.unix, spent=True)

    def take(self, limit: AppliedLimit, amount: int, now: Moment) -> LimitState:
        """Hold ``amount``; return where the limit stands then."""
        if amount:
            if limit.window is None:
                self.move(limit, now, amount, 0, now)
            else:
                window = self._window(limit.key, limit.window)
                window.counter.add(amount, now.monotonic)
                window.held += amount
        return self.state(limit, now)

    def move(self, limit: AppliedLimit, at: Moment, held: int, used: int, now: Moment) -> int:
        """Change by ``held`` and ``used`` what was admitted at ``at``; return by how much that overshoots a budget."""
        if not (held or used):
            return 0
        if limit.span is not None:
            return self._move_budget(limit, limit.span, at, held, used, now)
        if limit.window is not None:
            window = self._window(limit.key, limit.window)
            window.held += held
            window.counter.adjust(at.monotonic, held + used, now.monotonic)
        elif left := self._slots.get(limit.key, 0) + held:
            self._slots[limit.key] = left
        else:
            self._slots.pop(limit.key, None)
        return 0

    def _move_budget(self, limit: AppliedLimit, span: Span, at: Moment, held: int, used: int, now: Moment) -> int:
        period, budgets = self._period(span, now.unix)
        if at.unix < period.start:
            return 0
        budget = budgets.get(limit.key)
        if budget is None:
            budget = budgets[limit.key] = _Budget()
            self._count += 1
        over = max(0, budget.used - limit.amount)
        budget.held += held
        budget.used += used
        return max(0, budget.used - limit.amount - over)

    def restore(self, span: Span, used: Mapping[str, int], now: Moment) -> None:
        """Say what was used in the current period, by counter; for a store that begins."""
        _, budgets = self._period(span, now.unix)
        for key, amount in used.items():
            budget = budgets.get(key)
            if budget is None:
                budgets[key] = _Budget(amount)
                self._count += 1
            else:
                budget.used += amount

    def state(self, limit: AppliedLimit, now: Moment) -> LimitState:
        """Return where a limit stands."""
        name, unit, amount, length = limit.name, limit.unit, limit.amount, limit.window
        if limit.span is not None:
            period, budgets = self._period(limit.span, now.unix)
            budget = budgets.get(limit.key)
            used, held = (0, 0) if budget is None else (budget.used, budget.held)
            length = period.end - period.start
            return LimitState(name, unit, amount, used, held, period.end - now.unix, length, limit.span)
        if length is None:
            return LimitState(name, unit, amount, 0, self._slots.get(limit.key, 0), None, None)
        window = self._find(limit.key, length)
        if window is None:
            return LimitState(name, unit, amount, 0, 0, length, length)
        used, reset = window.counter.standing(now.monotonic)
        held = min(used, window.held)  # what is held longer than the window is long has left it
        return LimitState(name, unit, amount, used - held, held, reset, length)

    def forget(self, now: Moment) -> None:
        """Drop windows that count nothing, and the budgets of periods that are over."""
        for windows in self._windows.values():
            for _ in range(len(windows)):
                key, window = next(iter(windows.items()))
                if window.counter.used(now.monotonic):
                    break
                if window.held:
                    windows.move_to_end(key)
                else:
                    del windows[key]
                    self._count -= 1
        for span in tuple(self._budgets):
            self._period(span, now.unix)

    def _find(self, key: str, length: float) -> _Window | None:
        windows = self._windows.get(length)
        return None if windows is None else windows.get(key)

    def _window(self, key: str, length: float) -> _Window:
        """Return the counter, as the last of its length to become idle."""
        windows = self._windows.setdefault(length, OrderedDict())
        window = windows.get(key)
        if window is None:
            window = windows[key] = _Window(length)
            self._count += 1
        else:
            windows.move_to_end(key)
        return window

    def _period(self, span: Span, unix: float) -> tuple[Period, dict[str, _Budget]]:
        """Return the current period and its counters; those of the last one are gone when it begins."""
        current = self._budgets.get(span)
        if current is None or unix >= current[0].end:
            if current is not None:
                self._count -= len(current[1])
            current = self._budgets[span] = (self._calendar.at(span, unix), {})
        return current
