"""nginx, HAProxy and Caddy, each with the file that we recommend, as somebody installs it: with names changed, no more."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.support.node import missing

SNIPPETS = Path(__file__).parents[2] / "deploy" / "proxies"
NAMES = ("nginx", "haproxy", "caddy")
_PATIENCE = 30.0
_PLACES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_NGINX = """
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
    {snippet}
}}
"""


@dataclass
class Proxy:
    """A running one.

    Attributes:
        url: Where its clients go, by HTTPS.
        context: What trusts its certificate.
        authority: The same for other programs: a file.
    """

    name: str
    url: str
    context: ssl.SSLContext
    authority: Path
    directory: Path
    said: bytearray = field(default_factory=bytearray)

    @property
    def log(self) -> str:
        """What it wrote so far, wherever."""
        files = [path.read_bytes() for path in self.directory.glob("*.log")]
        return b"\n".join([bytes(self.said), *files]).decode()

    def client(self, source: str = "127.0.0.1") -> aiohttp.ClientSession:
        """Return a client that speaks HTTP/1.1, from an address of this machine."""
        connector = aiohttp.TCPConnector(ssl=self.context, local_addr=(source, 0))
        return aiohttp.ClientSession(self.url, connector=connector)


def snippet(name: str) -> str:
    """Return the file that we recommend."""
    return next(SNIPPETS.glob(f"{name}*" if name != "caddy" else "Caddyfile")).read_text(encoding="utf-8")


@asynccontextmanager
async def proxy(
    name: str, directory: Path, authority: object, gateway: str, changes: Mapping[str, str] | None = None
) -> AsyncIterator[Proxy]:
    """Run one before a gateway.

    Args:
        name: One of ``NAMES``.
        directory: For its files; it exists.
        authority: Of trustme, which signs its certificate.
        gateway: URL.
        changes: Other texts in its file that are replaced; each must be there.
    """
    program = shutil.which(name, path=_PLACES)
    if program is None:
        missing(f"{name} is needed: tools/setup.sh proxies")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "site.pem"))
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    port = _free_port()
    arguments = _PREPARE[name](directory, port, gateway.removeprefix("http://"), changes or {})
    home = {**os.environ, "HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    process = await asyncio.create_subprocess_exec(
        program, *arguments, cwd=directory, env=home,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    running = Proxy(name, f"https://localhost:{port}", context, directory / "ca.pem", directory)
    try:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(_read(process, running.said))
            await _listening(running, process)
            yield running
            process.kill()
            await reading
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _nginx(directory: Path, port: int, gateway: str, changes: Mapping[str, str]) -> tuple[str, ...]:
    names = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "127.0.0.1:8080": gateway,
        "/var/log/nginx": str(directory),
        "/etc/ssl/chat.example.pem": "site.pem",
        "/etc/ssl/chat.example.key": "site.pem",
    }
    text = _NGINX.format(directory=directory, snippet=_changed(snippet("nginx"), {**names, **changes}))
    (directory / "nginx.conf").write_text(text)
    return "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"


def _haproxy(directory: Path, port: int, gateway: str, changes: Mapping[str, str]) -> tuple[str, ...]:
    names = {
        "log /dev/log local0": "log stdout format raw local0",
        "bind :443": f"bind 127.0.0.1:{port}",
        "127.0.0.1:8080": gateway,
        "/etc/ssl/chat.example.pem": "site.pem",
    }
    (directory / "haproxy.cfg").write_text(_changed(snippet("haproxy"), {**names, **changes}))
    return "-f", str(directory / "haproxy.cfg")


def _caddy(directory: Path, port: int, gateway: str, changes: Mapping[str, str]) -> tuple[str, ...]:
    names = {
        "\n{\n": "\n{\nadmin off\nauto_https disable_redirects\ndefault_bind 127.0.0.1\n",
        "\nchat.example {": f"\nhttps://localhost:{port} {{",
        "127.0.0.1:8080": gateway,
        "/etc/ssl/chat.example.pem": "site.pem",
        "/etc/ssl/chat.example.key": "site.pem",
    }
    (directory / "Caddyfile").write_text(_changed(snippet("caddy"), {**names, **changes}))
    return "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"


_PREPARE = {"nginx": _nginx, "haproxy": _haproxy, "caddy": _caddy}


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for there, here in changes.items():
        assert there in text, there
        text = text.replace(there, here)
    return text


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def _read(process: asyncio.subprocess.Process, said: bytearray) -> None:
    assert process.stdout is not None
    while data := await process.stdout.read(65536):
        said += data


async def _listening(running: Proxy, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_PATIENCE), running.client() as client:
        while True:
            assert process.returncode is None, running.log
            try:
                async with client.get("/health"):
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)  # nobody tells when a foreign process listens
