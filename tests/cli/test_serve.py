"""``tokenweir serve``: what it starts with, and what it refuses in one line instead."""

from __future__ import annotations

import asyncio
import signal
import socket

import aiohttp
import pytest

from tests.support.process import command, make_key, process, serving
from tests.support.scripted_upstream import scripted_upstream

KEY = {"ANTHROPIC_API_KEY": "sk-ant-mine"}
ANYWHERE = ("serve", "--listen", "0.0.0.0:0", "--ops-listen", "127.0.0.1:0")
ANONYMOUS = '[[anonymous]]\norigins = ["https://shop.example"]\ntenant = "shop"\n'


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


async def test_without_a_key_of_anthropic_it_says_what_to_set(tmp_path):
    ended = await command(tmp_path, "serve")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert "set ANTHROPIC_API_KEY" in ended.err
    assert "tokenweir demo" in ended.err


async def test_with_a_key_it_serves_and_names_its_addresses_and_upstreams(tmp_path):
    async with serving(tmp_path, "serve", **KEY) as gateway, aiohttp.ClientSession() as http:
        assert "It talks to: claude (https://api.anthropic.com/)" in gateway.said
        async with http.get(f"{gateway.url}/health") as health:
            assert (await health.json())["status"] == "ok"
        async with http.get(f"{gateway.ops_url}/readyz") as ready:
            assert ready.status == 200


async def test_the_base_url_of_the_environment_is_called_with_the_key_of_the_environment(tmp_path):
    async with (
        scripted_upstream() as claude,
        serving(tmp_path, "serve", **KEY, ANTHROPIC_BASE_URL=claude.url) as gateway,
        aiohttp.ClientSession() as http,
    ):
        headers = {"x-api-key": make_key(tmp_path)}
        body = {"message": "hi"}
        async with http.post(f"{gateway.url}/api/chat/stream", json=body, headers=headers) as answer:
            assert '"type":"done"' in await answer.text()
    assert claude.requests[0].headers["x-api-key"] == "sk-ant-mine"


async def test_the_port_of_the_old_deployment_is_taken_from_its_env_file_unmoved(tmp_path):
    (tmp_path / "server").mkdir()
    port = _free_port()
    (tmp_path / "server" / ".env").write_text(f"ANTHROPIC_API_KEY=sk-ant-mine\nAPI_PORT={port}\nNODE_ENV=production\n")
    arguments = ("serve", "--env-file", "server/.env", "--ops-listen", "127.0.0.1:0")
    async with process(tmp_path, *arguments) as gateway:
        assert f"serves on http://127.0.0.1:{port}," in await gateway.until("serves on")


async def test_api_port_of_the_environment_chooses_the_port(tmp_path):
    port = _free_port()
    async with process(tmp_path, "serve", "--ops-listen", "127.0.0.1:0", **KEY, API_PORT=str(port)) as gateway:
        assert f"serves on http://127.0.0.1:{port}," in await gateway.until("serves on")


async def test_an_ipv6_address_is_written_as_a_url(tmp_path):
    async with process(tmp_path, "serve", "--listen", "[::1]:0", "--ops-listen", "127.0.0.1:0", **KEY) as gateway:
        said = await gateway.until("serves on")
    assert "serves on http://[::1]:" in said


async def test_several_workers_and_a_limit_that_each_would_admit_are_refused_with_the_remedy(tmp_path):
    (tmp_path / "c.toml").write_text("[plans.default]\nrequests_per_minute = 60\n")
    ended = await command(tmp_path, "serve", "--config", "c.toml", "--workers", "2", **KEY)
    assert (ended.code, ended.out) == (2, "")
    assert "plans.default.requests_per_minute" in ended.err
    assert "Set redis_url, and they count together; or limits.per_worker" in ended.err


async def test_an_address_for_all_is_refused_while_a_key_of_the_demo_works(tmp_path):
    async with serving(tmp_path, "demo"):
        pass
    ended = await command(tmp_path, *ANYWHERE, **KEY)
    assert (ended.code, ended.out) == (2, "")
    assert "tokenweir tenants suspend demo" in ended.err
    await command(tmp_path, "tenants", "suspend", "demo")
    async with process(tmp_path, *ANYWHERE, **KEY) as gateway:
        assert "http://0.0.0.0:" in await gateway.until("serves on")


async def test_a_demo_whose_keys_are_revoked_is_no_obstacle(tmp_path):
    async with serving(tmp_path, "demo") as demo:
        key = demo.said.split("Your key")[1].split()[0]
    await command(tmp_path, "keys", "revoke", key)
    async with process(tmp_path, *ANYWHERE, **KEY) as gateway:
        await gateway.until("serves on")


async def test_an_address_for_all_is_refused_with_an_anonymous_plan_without_a_limit_for_all_browsers(tmp_path):
    (tmp_path / "c.toml").write_text(ANONYMOUS)
    ended = await command(tmp_path, *ANYWHERE, "--config", "c.toml", **KEY)
    assert (ended.code, ended.out) == (2, "")
    assert "plans.default.requests_per_minute" in ended.err


async def test_allow_insecure_lets_both_through(tmp_path):
    async with serving(tmp_path, "demo"):
        pass
    (tmp_path / "c.toml").write_text(ANONYMOUS)
    variables = {**KEY, "TOKENWEIR_SERVER__ALLOW_INSECURE": "true"}
    async with process(tmp_path, *ANYWHERE, "--config", "c.toml", **variables) as gateway:
        await gateway.until("serves on")


async def test_all_that_is_wrong_is_said_at_once(tmp_path):
    (tmp_path / "c.toml").write_text(ANONYMOUS)
    ended = await command(tmp_path, *ANYWHERE, "--config", "c.toml", "--workers", "3")
    assert ended.code == 2
    assert [line[:6] for line in ended.err.splitlines()] == ["error:"] * 3


async def test_a_wrong_value_is_said_by_its_option(tmp_path):
    ended = await command(tmp_path, "serve", "--listen", "8080", **KEY)
    assert ended.code == 2
    assert "--listen" in ended.err
    assert "HOST:PORT" in ended.err


@pytest.mark.parametrize("name", ["serve", "demo"])
@pytest.mark.parametrize("place", ["file/data", "/proc/nothing/data", "/sys/data"])  # where not even root may write
async def test_a_data_directory_that_cannot_be_made_is_one_line(tmp_path, place, name):
    (tmp_path / "file").write_text("in the way")
    ports = ("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
    ended = await command(tmp_path, name, *ports, **KEY, TOKENWEIR_DATA_DIR=place)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: the database ")
    assert place in ended.err


async def test_a_demo_key_that_cannot_be_kept_is_one_line(tmp_path):
    """The database may live elsewhere than the data directory."""
    (tmp_path / "file").write_text("in the way")
    variables = {
        "TOKENWEIR_DATA_DIR": "file/data",
        "TOKENWEIR_DATABASE_URL": f"sqlite:///{tmp_path}/db/tokenweir.db",
        "TOKENWEIR_KEY_PEPPER": "a-pepper-of-the-operator",
    }
    ports = ("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
    ended = await command(tmp_path, "demo", *ports, **variables)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: the demo's key cannot be kept in file/data/demo-key: Not a directory\n"


@pytest.mark.parametrize("name", ["serve", "demo"])
async def test_variables_that_set_nothing_are_one_note_at_the_start(tmp_path, name):
    theirs = {"TOKENWEIR_PORT": "tcp://10.0.0.1:80", "TOKENWEIR_SERVICE_HOST": "10.0.0.1"}
    async with serving(tmp_path, name, TOKENWEIR_COLOUR="red", TOKENWEIR_FLAVOUR="sweet", **theirs, **KEY) as gateway:
        gateway.signal(signal.SIGINT)
        ended = await gateway.end()
    assert ended.err == (
        "note: TOKENWEIR_COLOUR, TOKENWEIR_FLAVOUR (environment): no setting is called so, it has no effect\n"
    )


async def test_a_pepper_that_does_not_fit_the_keys_is_a_warning_at_start(tmp_path):
    async with serving(tmp_path, "serve", **KEY):
        make_key(tmp_path)
    (tmp_path / "data" / "pepper").unlink()
    async with serving(tmp_path, "serve", **KEY) as gateway:
        warning = next(line for line in gateway.said.splitlines() if '"warning"' in line)
    assert "were made with another pepper" in warning


async def test_keys_made_beside_a_running_gateway_work_at_once_and_end_when_revoked(tmp_path):
    """No restart, no delay for a new key; a revoked one is refused within 5 seconds."""
    async with (
        scripted_upstream() as claude,
        serving(tmp_path, "serve", **KEY, ANTHROPIC_BASE_URL=claude.url) as gateway,
        aiohttp.ClientSession() as http,
    ):
        assert (await command(tmp_path, "tenants", "create", "acme")).code == 0
        made = await command(tmp_path, "keys", "create", "--tenant", "acme", "--json")
        key = made.out.split('"key": "')[1].split('"')[0]

        async def status() -> int:
            headers = {"x-api-key": key}
            url = f"{gateway.url}/api/chat/stream"
            async with http.post(url, json={"message": "hi"}, headers=headers) as answer:
                return answer.status

        assert await status() == 200
        assert (await command(tmp_path, "keys", "revoke", key)).code == 0
        async with asyncio.timeout(5):
            while (refused := await status()) == 200:
                pass
        assert refused == 401
