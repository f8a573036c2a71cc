"""compose.yaml is valid, what it mounts is there, and what it starts works together: as processes, no container needed."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from tests.support.process import PATIENCE, process, serving
from tests.support.redis import redis_server

ROOT = Path(__file__).parents[2]
FILE = ROOT / "compose.yaml"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]


def test_it_is_valid():
    check = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE]
    subprocess.run(check, check=True, capture_output=True)


def test_the_dockerfile_is_without_reproach():
    ended = subprocess.run([BIN / "hadolint", ROOT / "Dockerfile"], check=False, capture_output=True, text=True)
    assert ended.stdout == ""


def mounted(services):
    return {text.split(":")[0] for service in services.values() for text in service.get("volumes", [])}


def test_what_it_mounts_from_here_is_there(services):
    paths = [name for name in mounted(services) if name.startswith("./deploy/")]
    assert paths
    assert [name for name in paths if not (ROOT / name).exists()] == []


def test_nothing_is_published_beyond_this_machine(services):
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_is_ours_runs_without_privileges(services):
    for name in ("gateway", "claude", "visitor"):
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in services[name]["security_opt"]


def environment(service, places):
    """Return its variables with their defaults, at places of this machine."""
    values = {}
    for name, value in service["environment"].items():
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        for there, here in places.items():
            text = text.replace(there, here)
        values[name] = text
    return values


@pytest.fixture
def database(postgresql):
    """One that was set up as the container of compose.yaml does it."""
    url = postgresql.new_database()
    script = ROOT / "deploy" / "compose" / "postgres" / "grafana.sql"
    command = ["psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", script, url]
    subprocess.run(command, env={**os.environ, "GRAFANA_DB_PASSWORD": "secret"}, check=True)
    return url


@asynccontextmanager
async def everything(services, directory, database):
    """Start Claude, the gateway and the visitor as compose.yaml does."""
    shutil.copytree(ROOT / "deploy/compose", directory / "config")
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server(directory))
        claude = await stack.enter_async_context(process(directory, "simulate", "--listen", "127.0.0.1:0"))
        pretend = re.findall(r"http://\S+:\d+", await claude.until("http://"))[0]
        places = {
            "http://claude:8090": pretend,
            "postgresql://tokenweir:tokenweir@postgres/tokenweir": database,
            "redis://redis:6379/0": redis.url,
        }
        variables = environment(services["gateway"], places) | {"TOKENWEIR_DATA_DIR": str(directory / "data")}
        gateway = await stack.enter_async_context(serving(directory, "serve", "--workers", "1", **variables))
        visitor = {
            **environment(services["visitor"], {**places, "http://gateway:8080": gateway.url}),
            "TOKENWEIR_DATA_DIR": str(directory / "data"),
            "PRETEND_CLAUDE": pretend,
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        program = (sys.executable, str(ROOT / "deploy/compose/visitor.py"))
        await stack.enter_async_context(process(directory, program=program, **visitor))
        yield gateway


async def metrics(gateway, *wanted):
    """Wait until the metrics hold all of these, and return them."""
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{gateway.ops_url}/metrics") as answer:
                text = await answer.text()
            if all(re.search(pattern, text) for pattern in wanted):
                return text


async def test_the_gateway_has_visitors_and_grafana_may_read_the_ledger(services, tmp_path, database):
    async with everything(services, tmp_path, database) as gateway:
        tenants = [rf'tokenweir_tenant_\w+{{.*tenant="{name}".*}} [1-9]' for name in ("shop", "forum", "school")]
        await metrics(gateway, *tenants)
    grafana = make_url(database).set(username="grafana").render_as_string(hide_password=False)
    with psycopg.connect(grafana) as connection:
        found = connection.execute("SELECT DISTINCT tenant FROM requests").fetchall()
        assert {tenant for (tenant,) in found} == {"shop", "forum", "school"}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM keys")


async def test_with_any_other_claude_the_visitor_goes_home(tmp_path):
    program = (sys.executable, str(ROOT / "deploy/compose/visitor.py"))
    async with process(tmp_path, program=program, ANTHROPIC_BASE_URL="https://api.anthropic.com") as visitor:
        ended = await visitor.end()
    assert ended.code == 1
    assert "not the pretend Claude" in ended.err
