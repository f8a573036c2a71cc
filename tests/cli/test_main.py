"""The command itself: quick to help, and clear about what it does not know."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway import __version__
from tests.support.process import command

_ROOT = Path(__file__).resolve().parents[2]
_HEAVY = {"aiohttp", "anthropic", "pydantic", "sqlalchemy", "uvloop", "orjson"}


async def test_help_lists_every_command(tmp_path):
    ended = await command(tmp_path, "--help")
    assert (ended.code, ended.err) == (0, "")
    for name in ("serve", "demo", "simulate", "tenants", "keys", "config"):
        assert f"\n  {name} " in ended.out


async def test_help_loads_nothing_heavy():
    """What makes it quick: the libraries of a gateway are imported by the command that needs them."""
    code = (
        "import sys\nfrom gateway.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print(sorted({_HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=_ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await run.communicate()
    assert errors.decode().strip() == "[]"


async def test_every_command_explains_itself(tmp_path):
    for name in ("serve", "demo", "simulate", "tenants", "keys", "config"):
        ended = await command(tmp_path, name, "-h")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("Usage: ")


async def test_an_unknown_command_is_a_usage_error(tmp_path):
    ended = await command(tmp_path, "server")
    assert ended.code == 2
    assert "No such command 'server'" in ended.err


async def test_it_knows_its_version(tmp_path):
    assert (await command(tmp_path, "--version")).out == f"tokenweir, version {__version__}\n"
