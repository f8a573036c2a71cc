"""What is measured: a table of loads, a table of those who bear them, and a table of the quantities that come out.

A new scenario is a row of ``SCENARIOS``, and a row of ``QUANTITIES`` for each number that it gives. A new subject, such
as the gateway with another configuration, is a row of ``SUBJECTS``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tools.bench.upstream import Script

Kind = Literal["load", "slow", "leave"]
Server = Literal["direct", "nginx", "tokenweir", "workers"]

_QUESTION = "Write a long answer about relays."
_CLAUDES = b'{"model":"claude-sonnet-5-5","max_tokens":4096,"stream":true,"messages":[{"role":"user","content":"%b"}]}'


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is measured: a server and one of its routes.

    Attributes:
        end: What stands after the last token of every whole answer.
    """

    name: str
    server: Server
    path: str
    body: bytes
    end: bytes


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load.

    Attributes:
        clients: Streams at a time.
        ramp: Seconds over which they start.
        warm: Seconds from then to the window.
        window: Seconds that are measured; in which a slow client reads, or after which one leaves.
        subjects: Who is measured.
        fresh: Whether the server is started anew, so that its memory is comparable.
        once: Whether one pass is enough: memory does not depend on what else the machine does.
        timed: Whether the delay of single tokens is noted.
        rate: Bytes a second that a slow client reads.
    """

    name: str
    what: str
    script: Script
    subjects: tuple[str, ...]
    kind: Kind = "load"
    clients: int = 1
    ramp: float = 0.0
    warm: float = 1.0
    window: float = 3.0
    fresh: bool = False
    once: bool = False
    timed: bool = False
    rate: int = 65_536

    def lasting(self, seconds: float | None) -> Scenario:
        """Return it with another window."""
        return self if seconds is None else replace(self, window=seconds)


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of the table.

    Attributes:
        key: Its name in a measurement.
        minus: The subject whose number is taken off, for what a server adds.
        bar: What the chat route may have at most; None where nothing is fixed.
        relative: Whether the bar is a multiple of nginx's number.
    """

    scenario: str
    key: str
    label: str
    unit: str
    digits: int = 1
    minus: str = ""
    bar: float | None = None
    relative: bool = False


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("direct", "direct", "/v1/messages", _CLAUDES % _QUESTION.encode(), b"message_stop"),
        Subject("nginx", "nginx", "/v1/messages", _CLAUDES % _QUESTION.encode(), b"message_stop"),
        Subject("chat", "tokenweir", "/api/chat/stream", b'{"message":"%b"}' % _QUESTION.encode(), b'"type":"done"'),
        Subject("messages", "tokenweir", "/v1/messages", _CLAUDES % _QUESTION.encode(), b"message_stop"),
        Subject("workers", "workers", "/api/chat/stream", b'{"message":"%b"}' % _QUESTION.encode(), b'"type":"done"'),
    )
}

_PROXIES = ("nginx", "chat")
_ALL = ("nginx", "chat", "messages")
_PACED = Script(tokens=200, interval=0.02, first=0.05)

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("S0", "one request at a time, 10 tokens, no delay", Script(10), ("direct", *_PROXIES), window=2.5),
        Scenario(
            "S1", "200 streams of 200 tokens, 20 ms apart", _PACED, _ALL,
            clients=200, ramp=4.0, window=4.0, timed=True,
        ),
        Scenario("S2", "32 streams of 500 tokens at full speed", Script(500), _ALL, clients=32),
        Scenario(
            "S3", "2000 streams, one token a second", Script(300, interval=1.0, first=1.0), _PROXIES,
            clients=2000, ramp=4.0, warm=1.0, window=3.0, fresh=True, once=True,
        ),
        Scenario(
            "S3L", "9000 streams, one token in five seconds", Script(60, interval=5.0, first=1.0), ("chat",),
            clients=9000, ramp=20.0, warm=2.0, window=5.0, fresh=True, once=True,
        ),
        Scenario("S4", "64 requests at a time, 10 tokens, no delay", Script(10), _ALL, clients=64),
        Scenario(
            "S5", "20 MB for a client that reads 64 KB a second", Script(20_000, pad=1000), _PROXIES,
            kind="slow", window=10.0, fresh=True, once=True,
        ),
        Scenario(
            "S6a", "the client leaves between tokens 20 ms apart", Script(3000, interval=0.02), _PROXIES,
            kind="leave", clients=4, window=1.0,
        ),
        Scenario(
            "S6q", "the client leaves while Claude is silent", Script(2, interval=15.0, first=15.0), _PROXIES,
            kind="leave", clients=4, window=1.0,
        ),
        Scenario("W2", "S1 on two workers", _PACED, ("workers",), clients=200, ramp=4.0, window=4.0),
    )
}  # fmt: skip

_MIB = "MiB"
QUANTITIES = (
    Quantity("S0", "ttft_p50_ms", "added time to first token, p50", "ms", 2, minus="direct", bar=0.5),
    Quantity("S0", "ttft_p99_ms", "added time to first token, p99", "ms", 2, minus="direct", bar=1.2),
    Quantity("S1", "us_per_token", "CPU per token", "µs", bar=1.8, relative=True),
    Quantity("S1", "delay_p99_ms", "delay of a token, p99", "ms"),
    Quantity("S2", "us_per_token", "CPU per token", "µs", 2, bar=1.0, relative=True),
    Quantity("S3", "kib_per_stream", "memory per idle stream", "KiB", bar=32.0),
    Quantity("S3L", "kib_per_stream", "memory per stream of 9000", "KiB", bar=32.0),
    Quantity("S4", "ms_per_request", "CPU per short request", "ms", 3, bar=0.4),
    Quantity("S5", "growth_mib", "growth behind a slow client", _MIB, 2, bar=1.0),
    Quantity("S5", "held_mib", "taken from Claude, not yet read", _MIB, 2),
    Quantity("S6a", "closed_ms", "upstream closed after", "ms", bar=20.0),
    Quantity("S6q", "closed_ms", "upstream closed after", "ms", bar=20.0),
    Quantity("S3", "idle_mib", "idle process", _MIB, 0, bar=90.0),
)
