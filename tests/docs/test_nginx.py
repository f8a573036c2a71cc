"""docs/examples/nginx.conf in a real nginx, before a whole gateway."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import BLOCK, END, HELLO, SSE_HEAD, START, scripted_upstream, stream, text_delta

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "nginx.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
PATIENCE = 30.0
AROUND = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
events {{}}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {example}
}}
"""

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx here; `make test` installs it")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def example(directory: Path, port: int, gateway: str) -> str:
    """Return the example with the names changed, as it asks for; without a certificate."""
    text = EXAMPLE.read_text()
    for there, here in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("127.0.0.1:8080", gateway.removeprefix("http://")),
        ("/var/log/nginx", str(directory)),
        ("    ssl_certificate /etc/ssl/chat.example.pem;\n", ""),
        ("    ssl_certificate_key /etc/ssl/chat.example.key;\n", ""),
    ):
        assert there in text
        text = text.replace(there, here)
    return text


@asynccontextmanager
async def nginx(directory: Path, gateway: str):
    """Run nginx, and be its client."""
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(AROUND.format(directory=directory, example=example(directory, port, gateway)))
    assert NGINX is not None
    process = await asyncio.create_subprocess_exec(NGINX, "-p", str(directory), "-c", str(config), "-e", "stderr")
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            await listening(client)
            yield client
    finally:
        process.terminate()
        await process.wait()


async def listening(client: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with client.get("/health") as response:
                    assert response.status == 200
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)  # nobody tells when a foreign process listens


@asynccontextmanager
async def everything(tmp_path: Path, *scripts, **sections):
    async with scripted_upstream(*scripts) as claude:
        config = configuration(tmp_path, claude.url, **sections)
        async with serving(config) as caller, nginx(tmp_path, caller.gateway.url) as client:
            client.headers["Authorization"] = f"Bearer {caller.key}"
            yield client


async def test_a_token_goes_out_before_the_next_one_has_come(tmp_path):
    read = asyncio.Event()

    async def one_by_one(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await read.wait()
        await peer.chunk(text_delta("lo") + END)
        await peer.end()

    async with (
        everything(tmp_path, one_by_one) as client,
        asyncio.timeout(PATIENCE),
        client.post("/api/chat/stream", json={"message": "Hello"}) as response,
    ):
        assert b'"token":"Hel"' in await response.content.readline()
        read.set()
        assert b'"type":"done"' in await response.content.read()


async def test_when_the_client_leaves_claude_is_stopped(tmp_path):
    left = asyncio.Event()

    async def endless(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await peer.closed()
        left.set()

    async with everything(tmp_path, endless) as client:
        async with client.post("/api/chat/stream", json={"message": "Hello"}) as response:
            await response.content.readline()
            response.close()
        async with asyncio.timeout(PATIENCE):
            await left.wait()


async def test_a_long_prompt_in_the_query_string_works_and_is_in_no_log(tmp_path):
    prompt = quote("您好吗" * 1820)  # 16 380 bytes, three times that when encoded
    async with everything(tmp_path, stream(HELLO)) as client:
        response = await client.get(f"/api/chat/stream?message={prompt}")
        assert b'"type":"done"' in await response.read()
    access = (tmp_path / "tokenweir.log").read_text()
    assert "GET /api/chat/stream 200" in access
    assert prompt[:27] not in access + (tmp_path / "tokenweir-error.log").read_text()


async def test_limits_per_address_count_the_clients_address_and_not_nginxs(tmp_path):
    """The test's own address is nginx's, and so a trusted one; what it names is the client of one more proxy."""
    sections = {
        "server": {"trusted_proxies": ["127.0.0.1"]},
        "anonymous": [{"origins": ["same-origin"], "tenant": "shop"}],
        "plans": {"default": {"per_address": {"requests_per_minute": 1}}},
    }
    async with everything(tmp_path, stream(HELLO), **sections) as client:
        del client.headers["Authorization"]
        statuses = []
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
            headers = {"Sec-Fetch-Site": "same-origin", "X-Forwarded-For": address}
            async with client.post("/api/chat/stream", json={"message": "Hello"}, headers=headers) as response:
                statuses.append(response.status)
    assert statuses == [200, 200, 429]


async def test_a_body_of_30_megabytes_goes_through(tmp_path):
    question = {"role": "user", "content": "x" * 30_000_000}
    body = {"model": "claude-sonnet-5-5", "max_tokens": 9, "stream": True, "messages": [question]}
    content = io.BytesIO(json.dumps(body).encode())
    async with everything(tmp_path, stream(HELLO)) as client, client.post("/v1/messages", data=content) as response:
        assert response.status == 200
        assert (await response.read()).endswith(END)
