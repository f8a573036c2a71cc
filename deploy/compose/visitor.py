"""Makes traffic, so that the dashboards of compose.yaml have something to show.

Three tenants ask the pretend Claude through the gateway, some leave in mid-answer, some meet an error on purpose. With
any other Claude it goes home at once: nobody is to pay for a demonstration.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import aiohttp

PRETEND = "http://claude:8090"
MODELS = ("claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-4-8")
QUESTIONS = (
    "What are your opening hours?",
    "How long does shipping take?",
    "Can I return what I bought?",
    "Explain how a weir works.",
    "Tell me a story.",
)
# Mostly nothing goes wrong.
FAULTS = (
    *[""] * 40,
    "[[sim: status=529]]",
    "[[sim: status=429; retry-after=1]]",
    "[[sim: time-to-first-token=4s]]",
    "[[sim: tokens-per-second=3; tokens=20]]",
    "[[sim: error-after=8]]",
    "[[sim: cut-after=12]]",
)
LEAVES = 0.05
LONGEST_PAUSE = 3.0


class Tenant(NamedTuple):
    """Who asks, on which plan, and how many of its people do so at a time."""

    name: str
    plan: str
    people: int


TENANTS = (Tenant("shop", "default", 3), Tenant("forum", "default", 2), Tenant("school", "small", 2))


def tokenweir(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the gateway's, in the same database."""
    return subprocess.run(("tokenweir", *arguments), capture_output=True, text=True, check=False)  # noqa: S603, S607


def key_for(tenant: Tenant) -> str:
    """Make a key that lives for a day; the tenant is made at the first start."""
    tokenweir("tenants", "create", tenant.name, "--plan", tenant.plan)
    made = tokenweir("keys", "create", "--tenant", tenant.name, "--expires", "1d", "--json")
    if made.returncode:
        sys.exit(made.stderr)
    return str(json.loads(made.stdout)["key"])


async def visit(http: aiohttp.ClientSession, headers: Mapping[str, str]) -> None:
    """Ask once, and read the answer or leave in its middle."""
    question = f"{random.choice(QUESTIONS)} {random.choice(FAULTS)}".strip()
    body = {"message": question, "model": random.choice(MODELS), "metadata": {"userId": f"u{random.randrange(9)}"}}
    left = random.randrange(2, 20) if random.random() < LEAVES else 0
    async with http.post("/api/chat/stream", json=body, headers=headers) as response:
        frames = 0
        async for _ in response.content:
            frames += 1
            if frames == left:
                response.close()
                return


async def person(http: aiohttp.ClientSession, key: str) -> None:
    """Ask, think, ask again."""
    while True:
        try:
            await visit(http, {"Authorization": f"Bearer {key}"})
        except (aiohttp.ClientError, TimeoutError) as error:
            print(f"visitor: {type(error).__name__}", file=sys.stderr, flush=True)
        await asyncio.sleep(random.uniform(0.2, LONGEST_PAUSE))


async def main(url: str, keys: Sequence[tuple[Tenant, str]]) -> None:
    """Have everybody ask until the program is stopped."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(url, timeout=timeout) as http, asyncio.TaskGroup() as group:
        for tenant, key in keys:
            for _ in range(tenant.people):
                group.create_task(person(http, key))


if __name__ == "__main__":
    if os.environ.get("ANTHROPIC_BASE_URL") != os.environ.get("PRETEND_CLAUDE", PRETEND):
        sys.exit("visitor: this is not the pretend Claude; no visits")
    asyncio.run(main(os.environ["GATEWAY_URL"], [(tenant, key_for(tenant)) for tenant in TENANTS]))
