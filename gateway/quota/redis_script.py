"""The scripts of the Redis store: each operation is one, loaded into a server when it does not have it yet."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from redis.exceptions import NoScriptError

from gateway.quota.redis_link import RedisLink, Word

Name = Literal["reserve", "renew", "settle", "register", "look", "load"]


class Call(NamedTuple):
    """One script with its keys, all of one tenant, and its arguments."""

    script: Name
    keys: list[str]
    arguments: tuple[Word, ...]


class _Script(NamedTuple):
    text: bytes
    sha: str


@cache
def _script(name: Name) -> _Script:
    folder = files(__package__) / "lua"
    text = b"".join([(folder / f"{part}.lua").read_bytes() for part in ("common", name)])
    return _Script(text, sha1(text, usedforsecurity=False).hexdigest())


async def run(link: RedisLink, *calls: Call, ahead: bool = False) -> list[bytes]:
    """Run scripts in one round trip, if need be ``ahead`` of those that wait for a connection; return what each says.

    Raises:
        StoreUnavailable: Not all of them were answered.
    """
    commands = [_command(call) for call in calls]
    try:
        return await link.calls(commands, ahead=ahead)
    except NoScriptError:
        # A server that was started, or failed over to, since; steps that were made may come twice.
        names: list[Any] = sorted({call.script for call in calls})
        await link.calls([("SCRIPT", "LOAD", _script(name).text) for name in names], ahead=ahead)
        return await link.calls(commands, ahead=ahead)


def _command(call: Call) -> tuple[Word, ...]:
    return ("EVALSHA", _script(call.script).sha, len(call.keys), *call.keys, *call.arguments)
