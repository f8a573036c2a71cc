"""The command as a user has it: a process of its own."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from click.testing import CliRunner

from gateway.cli.simulate import simulate

RUN = "from gateway.cli.simulate import simulate; simulate()"


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, "--listen", "127.0.0.1:0", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            said = (await process.stdout.readuntil(b"Ctrl-C stops it.\n")).decode()
        found = re.search(r"listens on (http://127\.0\.0\.1:\d+)", said)
        assert found
        yield process, found[1], said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_says_its_address_answers_and_ends_quietly_on_ctrl_c():
    async with running("--tokens-per-second", "0", "--time-to-first-token", "0ms") as (process, url, said):
        assert f"curl -N {url}/v1/messages" in said
        headers = {"x-api-key": "any", "anthropic-version": "2023-06-01"}
        body = {"model": "claude-x", "max_tokens": 99, "messages": [{"role": "user", "content": "Hours?"}]}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{url}/v1/messages", json=body, headers=headers) as answer,
        ):
            assert "We are open" in (await answer.json())["content"][0]["text"]
        process.send_signal(signal.SIGINT)
        rest, errors = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, rest, errors) == (0, b"", b"")


def test_a_taken_port_is_one_line_that_names_the_option():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(simulate, ["--listen", f"127.0.0.1:{port}"])
    assert result.exit_code == 2
    said = f"error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --listen\n"
    assert result.output == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fault", "nonsense=1"], "--fault nonsense=1: there is no directive 'nonsense'; allowed are"),
        (["--time-to-first-token", "soon"], "--time-to-first-token soon: "),
        (["--replay", "/nowhere.sse"], "--replay /nowhere.sse: there is no file /nowhere.sse"),
        (["--chunk-size", "some"], "--chunk-size some: Input should be a valid integer"),
        (["--listen", "8080"], "--listen 8080: give HOST:PORT"),
        (["--listen", "localhost:99999"], "--listen localhost:99999: give HOST:PORT"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_wrong(arguments, said):
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 2
    assert result.output.startswith(f"error: {said}")
    assert result.output.count("\n") == 1


def test_the_whole_answer_in_one_write_has_a_word():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(simulate, ["--chunk-size", "whole", "--listen", f"127.0.0.1:{port}"])
    assert "cannot listen" in result.output
