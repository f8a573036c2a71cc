"""The account of a soak: every visit against its line in the log, every token against what Claude said.

- A visit has exactly one line. The one exception: a client that left at once, before a byte came, may have none: its
  request was never read.
- A line ends as its visit may end. One that warns of an ending that was asked for is explained by that.
- An answer that came to its end has exactly the tokens that were asked for. Of one that was cut, the estimate is not
  below what the client had, and not above what the request allowed.
- What is matched is forgotten, so that a soak of days needs no more memory than one of minutes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tools.soak.reader import Answer
from tools.soak.visits import DONE, GONE, MAX_TOKENS, Visit

# The chat route asks Claude for as much as its configuration says.
CHAT_MAX_TOKENS = 4096
# Seconds; who leaves sooner and has heard nothing may not have been heard either.
_AT_ONCE = 0.2
_MOST_FINDINGS = 200

# Lines of the log that warn, are no request's, and are as they should be: the event, and why.
EXPLAINED = {
    "shedding load: the event loop lags": "something else used the gateway's core",
    "upstream refuses our credential": "asked for, with status=401",
    "upstream is rate limited": "asked for, with status=429",
    "upstream breaker opened": "many answers are failed on purpose; now and then enough of them come together",
}
# Endings that any visit may have, and why.
ANY_TIME = {
    "refused:overloaded": "something else used the gateway's core, its event loop lagged, and load was shed",
    "refused:upstream_unavailable": "the breaker was open",
    "error:upstream_unavailable": "the breaker opened before the next attempt",
}
# Share of all requests; past it the gateway was not under the load that was asked for, and the soak says little.
_MOST_ANY_TIME = 0.1
# What of a request's line tells why it ended as it did.
_TELLING = (
    *("timestamp", "request_id", "status", "kind", "phase", "error", "attempts", "output_tokens", "usage_estimated"),
    *("ttft_ms", "duration_ms", "client_bytes"),
)
_WARNING = frozenset({"warning", "error", "critical"})


@dataclass
class Account:
    """Takes visits and lines in any order.

    Attributes:
        findings: What does not hold.
        endings: How many lines ended how.
        output: Output tokens in the lines; ``input`` are the input tokens.
        told: Output tokens of streams that came to their end.
        most: The most that the pretend Claude can have sent in streams; ``least`` the least.
        unseen: Visits without a line that may have none.
    """

    findings: list[str] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    visits: int = 0
    lines: int = 0
    output: int = 0
    input: int = 0
    least: int = 0
    most: int = 0
    unseen: int = 0
    _waiting: dict[str, tuple[Visit, Answer]] = field(default_factory=dict)
    _read: dict[str, dict[str, Any]] = field(default_factory=dict)
    _begun: dict[str, Visit] = field(default_factory=dict)

    def begin(self, visit: Visit) -> None:
        """A visit is about to be made."""
        self.visits += 1
        self._begun[visit.id] = visit

    def end(self, visit: Visit, answer: Answer) -> None:
        """It was made."""
        del self._begun[visit.id]
        line = self._read.pop(visit.id, None)
        if line is None:
            self._waiting[visit.id] = (visit, answer)
        else:
            self._match(visit, answer, line)

    def read(self, line: dict[str, Any]) -> None:
        """Take one line of the log."""
        if line.get("event") != "request":
            self._other(line)
            return
        self.lines += 1
        self.output += line.get("output_tokens", 0)
        self.input += line.get("input_tokens", 0)
        self.endings[ending(line)] += 1
        name = str(line.get("client_request_id"))
        if name in self._waiting:
            self._match(*self._waiting.pop(name), line)
        elif name in self._begun and name not in self._read:
            self._read[name] = line
        else:
            self.find(f"a line too many for {name}: {ending(line)}")

    def close(self) -> None:
        """Nothing more comes: what is still open is a finding, or was never seen."""
        for visit, answer in self._waiting.values():
            if answer.status is None and visit.behaviour in {"leaves", "half-closes"} and visit.after < _AT_ONCE:
                self.unseen += 1
            else:
                self.find(f"no line for {visit}: {answer}")
        for name in self._begun:
            self.find(f"the visit {name} did not end")
        self._waiting.clear()
        self._begun.clear()
        if (refused := sum(self.endings[name] for name in ANY_TIME)) > _MOST_ANY_TIME * self.lines:
            self.find(f"{refused} of {self.lines} requests were refused for reasons that nobody asked for")

    def find(self, finding: str) -> None:
        """Note what does not hold; the first ones say enough."""
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(finding)

    def _other(self, line: dict[str, Any]) -> None:
        event = str(line.get("event"))
        if line.get("level") not in _WARNING:
            return
        if event in EXPLAINED:
            self.explained[event] += 1
        else:
            self.find(f"a line that nothing explains: {line}")

    def _match(self, visit: Visit, answer: Answer, line: dict[str, Any]) -> None:
        end = ending(line)
        if end in ANY_TIME:
            self.explained[end] += 1
        elif end not in visit.expected:
            self.find(f"{visit} ended as {end}, not as {' or '.join(sorted(visit.expected))}: {_short(line)}")
        elif (wrong := _disagreement(visit, answer, line)) is not None:
            self.find(f"{visit}: {wrong}; {answer}; {_short(line)}")
        if visit.stream and "output_tokens" in line:
            whole = end == DONE
            self.least += visit.tokens if whole else min(answer.frames, visit.tokens)
            self.most += visit.tokens


def ending(line: dict[str, Any]) -> str:
    """Return how a request ended, by its line."""
    kind, error = str(line.get("kind")), line.get("error")
    return kind if error is None or kind == GONE else f"{kind}:{error}"


def _short(line: dict[str, Any]) -> str:
    return ", ".join(f"{name} {line[name]}" for name in _TELLING if name in line)


def _disagreement(visit: Visit, answer: Answer, line: dict[str, Any]) -> str | None:
    """Say in what the client's view and the log's differ."""
    output = line.get("output_tokens")
    if line["kind"] == DONE:
        return _of_whole(visit, answer, line)
    if answer.good:
        return "the client had a whole answer"
    if output is None:
        return None if not answer.frames else "tokens came that the line does not have"
    most = MAX_TOKENS if visit.route == "messages" else CHAT_MAX_TOKENS
    least = min(answer.frames, visit.tokens)
    return None if least <= output <= most else f"{output} tokens are not within {least} and {most}"


def _of_whole(visit: Visit, answer: Answer, line: dict[str, Any]) -> str | None:
    if line.get("usage_estimated") or line.get("output_tokens") != visit.tokens:
        return f"Claude said {visit.tokens} tokens"
    if visit.behaviour in {"leaves", "half-closes", "reads nothing"}:
        return None
    if not answer.good:
        return "the client's answer was not whole"
    if answer.told != visit.tokens:
        return f"the client was told {answer.told} tokens"
    # Frames are merged for chat clients that lag, and only there.
    most = visit.tokens + visit.fault.extra
    exact = visit.stream and visit.route == "messages"
    fits = answer.frames == most if exact else answer.frames <= most
    return None if fits else f"{answer.frames} pieces came, not {most}"
