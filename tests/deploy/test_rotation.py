"""Secrets are exchanged under load: nobody's request fails, no key becomes invalid, no end user becomes another."""

from __future__ import annotations

import json
import signal
import sqlite3

import pytest

from tests.support.asking import ask, asking
from tests.support.process import command, serving
from tests.support.scripted_upstream import HELLO, answer, scripted_upstream, stream
from tests.support.streaming import AT_ONCE

OLD, NEW = "old-secret-of-the-operator", "new-secret-of-the-operator"


class Choosy:
    """A Claude that knows some keys."""

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)
        self.seen: list[str] = []

    async def __call__(self, peer) -> None:
        given = peer.request.headers["x-api-key"]
        self.seen.append(given)
        await (stream(HELLO) if given in self.keys else answer(401, b"{}"))(peer)


async def key_of(directory, **variables):
    await command(directory, "tenants", "create", "acme", **variables)
    made = await command(directory, "keys", "create", "--tenant", "acme", "--json", **variables)
    return json.loads(made.out)["key"]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_key_for_claude(tmp_path, workers):
    """Both keys are valid while the new one is brought in, as Anthropic's console lets them be."""
    file, claude = tmp_path / "claude.key", Choosy(OLD, NEW)
    file.write_text(OLD)
    variables = {**AT_ONCE, "ANTHROPIC_API_KEY": "", "ANTHROPIC_API_KEY_FILE": str(file)}
    async with (
        scripted_upstream(claude) as upstream,
        serving(tmp_path, "serve", "--workers", workers, **variables, ANTHROPIC_BASE_URL=upstream.url) as gateway,
    ):
        key = await key_of(tmp_path)
        async with asking(gateway.url, key) as noted:
            file.write_text(NEW)
            await gateway.reload()
            await noted.more()
        claude.keys.remove(OLD)
        claude.seen.clear()
        assert [await ask(gateway.url, key) for _ in range(5)] == [None] * 5
    assert noted.bad == []
    assert set(claude.seen) == {NEW}


async def test_the_pepper(tmp_path):
    file = tmp_path / "pepper"
    file.write_text(f"1:{OLD}")
    variables = {**AT_ONCE, "TOKENWEIR_KEY_PEPPER_FILE": str(file), "TOKENWEIR_KEYS__REFRESH": "0.1"}
    async with (
        scripted_upstream() as upstream,
        serving(tmp_path, "serve", **variables, ANTHROPIC_BASE_URL=upstream.url) as gateway,
    ):
        key, unused = await key_of(tmp_path, **variables), await key_of(tmp_path, **variables)
        async with asking(gateway.url, key) as noted:
            file.write_text(f"1:{OLD},2:{NEW}")
            await gateway.reload()
            await noted.until(lambda: peppers_in(tmp_path) == {1: 1, 2: 1})
            checked = await command(tmp_path, "db", "check", **variables)
            assert "pepper 1: 1 live key(s)\npepper 2, the current one: 1 live key(s)\n" in checked.out
            assert await ask(gateway.url, unused) is None
            await noted.until(lambda: peppers_in(tmp_path) == {2: 2})
            file.write_text(f"0:{OLD},2:{NEW}")
            await gateway.reload()
            await noted.more()
        assert await ask(gateway.url, unused) is None
        gateway.signal(signal.SIGTERM)
        ended = await gateway.end()
    assert noted.bad == []
    assert not [line for line in ended.log if line["level"] in {"warning", "error"}]
    with sqlite3.connect(tmp_path / "data" / "tokenweir.db") as database:
        users = database.execute("SELECT DISTINCT end_user FROM requests").fetchall()
    assert len(users) == 1


def peppers_in(directory):
    with sqlite3.connect(directory / "data" / "tokenweir.db") as database:
        return dict(database.execute("SELECT pepper_version, count(*) FROM keys GROUP BY 1").fetchall())
