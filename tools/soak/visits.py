"""Who comes, what they ask, how Claude fails them and how they behave: drawn from a seed, the same every time.

Each visit knows how it may end, in the words of the gateway's log: ``kind``, or ``kind:error``. An ending that it does
not know of is a finding.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote

Route = Literal["chat", "chat-get", "messages"]
Behaviour = Literal["stays", "leaves", "half-closes", "reads slowly", "reads nothing"]
Credential = Literal["good", "narrow", "bad"]

DONE = "done"
GONE = "disconnected"
MAX_TOKENS = 1024
_LIMITED = "refused:rate_limited"
_TRUNCATED = "error:upstream_truncated"
_MALFORMED = "error:upstream_malformed"
_TIMEOUT = "error:upstream_timeout"
_RATE = "error:upstream_rate_limit_error"
_OVERLOADED = "error:upstream_overloaded_error"


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail, in the pretend Claude's language; N is filled in with a position, ID with the visit's own.

    Attributes:
        stream: How a stream ends by it.
        whole: How an answer that is no stream ends by it.
        verbatim: How a stream on Claude's own route ends, where it differs: there the deltas are not looked into.
        extra: Events that look like content deltas and that Claude does not count.
        model: Asked for instead of the usual one, where Claude's answer is about all requests for a model.
    """

    directives: str
    stream: str = DONE
    whole: str = DONE
    verbatim: str = ""
    extra: int = 0
    model: str = "claude-sonnet-5-5"

    def ending(self, visit: Visit) -> str:
        """How a visit with this fault ends when its client stays."""
        if not visit.stream:
            return self.whole
        return self.verbatim if visit.route == "messages" and self.verbatim else self.stream


# Weighed by how often they are repeated here; the positions are within every answer's length.
FAULTS = (
    Fault("status=529; count=1; id=ID"),
    Fault("status=500; count=2; id=ID"),
    Fault("cut-after=0; count=1; id=ID"),
    Fault("slow-headers=700ms"),
    Fault("drip-headers=400ms"),
    Fault("stall-after=N; stall=600ms"),
    Fault("thinking-silence=1s; ping-interval=300ms"),
    Fault("unknown-after=N"),
    Fault("chunk-size=7"),
    Fault("chunk-size=-1"),
    Fault("giant-event=300KB", extra=1),
    Fault("stop-reason=refusal"),
    Fault("status=429; retry-after=1", _RATE, _RATE, model="claude-haiku-4-5"),
    Fault("status=529", _OVERLOADED, _OVERLOADED),
    Fault("status=502; content-type=text/html", "error:upstream_api_error", "error:upstream_api_error"),
    Fault("status=400", "error:upstream_invalid_request_error", "error:upstream_invalid_request_error"),
    Fault("status=401", "error:upstream_credential", "error:upstream_credential"),
    Fault("error-after=N", _OVERLOADED, _OVERLOADED),
    Fault("error-after=0", _OVERLOADED, _OVERLOADED),
    Fault("cut-after=N", _TRUNCATED, _TRUNCATED),
    Fault("cut-after=0", _TRUNCATED, _TRUNCATED),
    Fault("end-after=N", _TRUNCATED, _MALFORMED),
    Fault("reset-after=N", _TRUNCATED, _TRUNCATED),
    Fault("stall-after=N", _TIMEOUT, _TIMEOUT),
    Fault("garbage-after=N", _MALFORMED, _MALFORMED, verbatim=DONE, extra=1),
    Fault("gzip", _MALFORMED),
)
NO_FAULT = Fault("")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, from the first byte to the last.

    Attributes:
        tokens: Length of Claude's answer, if it comes to its end.
        pace: Tokens a second.
        after: Seconds after which a client leaves or half-closes.
        wrong: What is wrong with the request itself, if anything.
        pause: Seconds before it.
    """

    id: str
    route: Route = "chat"
    stream: bool = True
    credential: Credential = "good"
    behaviour: Behaviour = "stays"
    fault: Fault = NO_FAULT
    tokens: int = 20
    pace: float = 200.0
    position: int = 1
    after: float = 0.0
    wrong: str = ""
    pause: float = 0.0

    def __str__(self) -> str:
        form = "stream" if self.stream else "whole"
        said = f"{self.id} ({self.route}, {form}, {self.credential} key, {self.behaviour}"
        after = f" after {self.after:.2f} s" if self.behaviour in {"leaves", "half-closes"} else ""
        return f"{said}{after}; {self.wrong or self.directives})"

    @property
    def expected(self) -> frozenset[str]:
        """How it may end."""
        if self.wrong:
            return frozenset({_WRONG[self.wrong]})
        if self.credential == "bad":
            return frozenset({"refused:unauthenticated", "refused:too_many_failed_authentications"})
        ends = {self.fault.ending(self)}
        if self.behaviour in {"leaves", "half-closes"}:
            ends.add(GONE)
        if self.behaviour == "reads nothing":
            ends |= {"error:slow_client", GONE}
        if self.credential == "narrow":
            ends.add(_LIMITED)
        return frozenset(ends)

    @property
    def directives(self) -> str:
        """What the pretend Claude is told."""
        fault = self.fault.directives.replace("ID", self.id).replace("=N", f"={self.position}")
        return f"tokens={self.tokens}; tokens-per-second={self.pace:g}; time-to-first-token=50ms; {fault}"

    def request(self, keys: dict[str, str]) -> bytes:
        """Return its bytes.

        Args:
            keys: The key of each credential.
        """
        path, body = self._content(f"Tell me about relays. [[sim: {self.directives}]]")
        lines = {
            "Host": "127.0.0.1",
            "Authorization": f"Bearer {keys[self.credential]}",
            "X-Request-Id": self.id,
            "Content-Type": "application/json",
        }
        method = "GET" if self.route == "chat-get" else "POST"
        if method == "POST":
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    def _content(self, question: str) -> tuple[str, bytes]:
        if self.wrong == "path":
            return "/v1/nothing", b"{}"
        if self.wrong == "json":
            return "/v1/messages", b'{"model": "claude-'
        if self.wrong == "message":
            return "/api/chat/stream", b"{}"
        if self.route == "chat-get":
            return f"/api/chat/stream?message={quote(question)}", b""
        if self.route == "chat":
            asked = {"message": question, "stream": self.stream, "model": self.fault.model}
            return "/api/chat/stream", json.dumps(asked).encode()
        call = {"model": self.fault.model, "max_tokens": MAX_TOKENS, "stream": self.stream}
        return "/v1/messages", json.dumps({**call, "messages": [{"role": "user", "content": question}]}).encode()


_WRONG = {"path": "refused:not_found", "json": "refused:invalid_request", "message": "refused:message_required"}
_BEHAVIOURS: dict[Behaviour, float] = {
    "stays": 70, "leaves": 16, "half-closes": 6, "reads slowly": 6, "reads nothing": 2,
}  # fmt: skip
# Read slowly, an answer must be larger than what the kernel takes at once.
_LARGE = Fault("giant-event=2MB", extra=1)
_TYPICAL_SECONDS = 0.6


class Crowd:
    """Draws visits; the n-th is the same for the same seed, whoever makes it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._count = 0

    def next(self) -> Visit:
        """Return the next visit."""
        self._count += 1
        return draw(self._seed, self._count)


def draw(seed: int, number: int) -> Visit:
    """Return the visit of this number."""
    source = random.Random(f"{seed}.{number}")  # noqa: S311 - reproducible on purpose
    (behaviour,) = source.choices(tuple(_BEHAVIOURS), tuple(_BEHAVIOURS.values()))
    visit = Visit(
        id=f"soak-{seed}-{number}",
        route=source.choice(("chat", "chat", "chat-get", "messages", "messages")),
        stream=source.random() < 0.8,  # noqa: PLR2004 - one in five wants no stream
        credential=source.choices(("good", "narrow", "bad"), (90, 7, 3))[0],
        behaviour=behaviour,
        fault=source.choice(FAULTS) if source.random() < 0.3 else NO_FAULT,  # noqa: PLR2004 - three in ten are failed
        tokens=source.randint(5, 80),
        pace=source.uniform(50, 400),
        position=source.randint(1, 4),
        after=source.uniform(0.0, 2 * _TYPICAL_SECONDS),
        wrong=source.choice(tuple(_WRONG)) if source.random() < 0.02 else "",  # noqa: PLR2004 - one in fifty
        pause=source.uniform(0.0, 0.2),
    )
    return _sensible(visit)


def _sensible(visit: Visit) -> Visit:
    """Return it without what does not go together."""
    if visit.wrong:
        return replace(visit, route="chat", behaviour="stays", credential="good", stream=False, fault=NO_FAULT)
    if visit.route == "chat-get":  # it has no way to say either
        visit = replace(visit, stream=True) if visit.fault.model == NO_FAULT.model else replace(visit, route="chat")
    if visit.behaviour in {"reads slowly", "reads nothing"}:
        return replace(visit, stream=True, fault=_LARGE)
    return visit
