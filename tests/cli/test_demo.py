"""``tokenweir demo`` as a newcomer has it: a process, a key, a curl line."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import socket

import aiohttp
import pytest

from tests.support.process import command, process, serving
from tests.support.scripted_upstream import scripted_upstream


def _curl_line(said: str) -> list[str]:
    """The command that it prints, as a shell would take it."""
    found = re.search(r"^  (curl .*?[^\\])$", said, re.MULTILINE | re.DOTALL)
    assert found
    return shlex.split(found[1].replace("\\\n", " "))


def _key(said: str) -> str:
    found = re.search(r"Your key +(tw_\w+)", said)
    assert found
    return found[1]


async def test_the_printed_curl_line_streams_an_answer_of_the_pretend_claude(tmp_path):
    """The whole first look: start it, copy the line, read the answer; the first token takes less than a second."""
    async with serving(tmp_path, "demo") as demo:
        assert "talks to the built-in PRETEND Claude" in demo.said
        line = _curl_line(demo.said)
        assert line[:3] == ["curl", "-N", f"{demo.url}/api/chat/stream"]
        curl = await asyncio.create_subprocess_exec(*line, "-sS", stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(curl.communicate(), 20)
        frames = [json.loads(text[6:]) for text in out.decode().splitlines() if text.startswith("data: ")]
        assert "open" in "".join(frame["token"] for frame in frames)
        assert frames[-1]["type"] == "done"
        assert frames[-1]["metadata"]["timeToFirstTokenMs"] < 1000
        demo.signal(signal.SIGINT)
        ended = await demo.end()
    assert (ended.code, ended.err) == (0, "")


async def test_the_key_stays_the_same_and_is_for_its_owner_only(tmp_path):
    keys = []
    for _ in range(2):
        async with serving(tmp_path, "demo") as demo:
            keys.append(_key(demo.said))
            demo.signal(signal.SIGTERM)
    assert keys[0] == keys[1]
    assert (tmp_path / "data" / "demo-key").stat().st_mode & 0o777 == 0o600


async def test_a_revoked_demo_key_is_replaced_at_the_next_start(tmp_path):
    async with serving(tmp_path, "demo") as demo:
        first = _key(demo.said)
    assert (await command(tmp_path, "keys", "revoke", first)).code == 0
    async with serving(tmp_path, "demo") as demo:
        second = _key(demo.said)
        headers = {"x-api-key": second}
        async with aiohttp.ClientSession() as http, http.get(f"{demo.url}/v1/models", headers=headers) as answer:
            assert answer.status == 200
    assert second != first


async def test_browsers_of_this_machine_need_no_key(tmp_path):
    async with serving(tmp_path, "demo") as demo, aiohttp.ClientSession() as http:
        url = f"{demo.url}/api/chat/stream?message=hi"
        async with http.get(url, headers={"Origin": "http://localhost:3000"}) as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        async with http.get(url, headers={"Origin": "https://elsewhere.example"}) as answer:
            assert answer.status == 401


async def test_origins_of_the_configuration_replace_those_of_this_machine(tmp_path):
    (tmp_path / "c.toml").write_text('[[anonymous]]\norigins = ["https://shop.example"]\ntenant = "shop"\n')
    async with serving(tmp_path, "demo", "--config", "c.toml") as demo, aiohttp.ClientSession() as http:
        url = f"{demo.url}/api/chat/stream?message=hi"
        async with http.get(url, headers={"Origin": "http://localhost:3000"}) as answer:
            assert answer.status == 401
        async with http.get(url, headers={"Origin": "https://shop.example"}) as answer:
            assert answer.status == 200


async def test_with_a_key_of_anthropic_it_says_real_and_calls_the_base_url(tmp_path):
    async with (
        scripted_upstream() as claude,
        serving(tmp_path, "demo", ANTHROPIC_API_KEY="sk-ant-mine", ANTHROPIC_BASE_URL=claude.url) as demo,
        aiohttp.ClientSession() as http,
    ):
        assert f"talks to the REAL Claude at {claude.url}" in demo.said
        headers = {"x-api-key": _key(demo.said)}
        async with http.post(f"{demo.url}/api/chat/stream", json={"message": "hi"}, headers=headers) as answer:
            assert '"type":"done"' in await answer.text()
        assert claude.requests[0].headers["x-api-key"] == "sk-ant-mine"


@pytest.mark.parametrize("option", ["--listen", "--ops-listen"])
@pytest.mark.parametrize("name", ["demo", "serve"])
async def test_a_taken_port_is_one_line_that_names_the_option(tmp_path, name, option):
    other = {"--listen": "--ops-listen", "--ops-listen": "--listen"}[option]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = (name, option, address, other, "127.0.0.1:0")
        ended = await command(tmp_path, *arguments, ANTHROPIC_API_KEY="sk-ant-mine")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"error: cannot listen on {address}: Address already in use; choose another with {option}\n"


async def test_an_address_for_all_needs_allow_insecure(tmp_path):
    ended = await command(tmp_path, "demo", "--listen", "0.0.0.0:0")
    assert ended.code == 2
    assert ended.err.startswith("error: the demo has a ready-made key")
    assert "server.allow_insecure" in ended.err


async def test_an_address_for_all_starts_with_allow_insecure(tmp_path):
    arguments = ("demo", "--listen", "0.0.0.0:0", "--ops-listen", "127.0.0.1:0")
    async with process(tmp_path, *arguments, TOKENWEIR_SERVER__ALLOW_INSECURE="true") as demo:
        assert "Your key" in await demo.until("Stop with Ctrl-C.")


async def test_what_serve_refuses_the_demo_refuses_too(tmp_path):
    ended = await command(tmp_path, "demo", TOKENWEIR_REDIS_URL="http://localhost")
    assert ended.code == 2
    assert "redis_url names no Redis" in ended.err


async def test_the_demo_is_one_process_however_many_are_configured(tmp_path):
    async with serving(tmp_path, "demo", TOKENWEIR_SERVER__WORKERS="2") as demo:
        assert "workers" not in demo.said


async def test_a_wrong_value_is_one_line(tmp_path):
    ended = await command(tmp_path, "demo", "--listen", "nowhere")
    assert (ended.code, ended.out) == (2, "")
    assert "--listen" in ended.err
    assert "Traceback" not in ended.err
