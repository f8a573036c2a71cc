"""What is measured, started as its users start it: nginx as a plain proxy, and ``tokenweir serve`` with everything on.

Each server is a process of its own, on the core that is kept for it. What it needs is written below the directory that
it is given; a server that does not start says why with its own last words.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench.procfs import tree

_PATIENCE = 30.0
_POLL = 0.05
_NGINX = """\
daemon off;
user {user};
worker_processes 1;
worker_rlimit_nofile 20000;
error_log {directory}/nginx-error.log warn;
pid {directory}/nginx.pid;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    keepalive_requests 1000000;
    keepalive_timeout 300s;
    upstream claude {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://claude;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""
# Everything that a request meets in production is on; only the numbers are too high for a bench to reach.
GATEWAY = """\
data_dir = "{directory}/data"

[server]
listen = "127.0.0.1:{port}"
ops_listen = "127.0.0.1:{ops}"
workers = {workers}
drain_delay = 0

[[upstreams]]
base_url = "http://127.0.0.1:{upstream}"
api_key = "no-key-of-claude"

[plans.default]
requests_per_minute = 10_000_000
concurrent_streams = 100_000
max_output_tokens = 100_000

[plans.default.per_key]
requests_per_minute = 10_000_000
concurrent_streams = 100_000

[plans.default.per_address]
requests_per_minute = 10_000_000
concurrent_streams = 100_000

[log]
format = "json"
"""
# Workers that share nothing hold a share of each limit.
SHARED_OUT = """
[limits]
per_worker = true
"""
# What would change the gateway's configuration, or send its calls elsewhere.
_KEPT_OUT = ("TOKENWEIR_", "ANTHROPIC_", "RATE_LIMIT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PORT", "HOST")


class ServerFailed(Exception):
    """A server did not start; the message says why."""


@dataclass
class Server:
    """A process that serves.

    Attributes:
        port: Where, on 127.0.0.1.
        headers: What a request to it must carry.
    """

    port: int
    process: subprocess.Popen[bytes]
    output: Path
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def processes(self) -> list[int]:
        """The process and its children."""
        return tree(self.process.pid)

    async def stop(self) -> int:
        """Stop it as an operator would; what does not stop is killed. Returns its exit code."""
        family = self.processes
        self.process.terminate()
        try:
            async with asyncio.timeout(_PATIENCE):
                while self.process.poll() is None:  # noqa: ASYNC110 - it has no event loop's watcher
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        return self.process.wait()


def nginx_program() -> str | None:
    """Return where nginx is; Debian keeps it out of a user's PATH."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


async def start_nginx(directory: Path, upstream: int, core: int | None) -> Server:
    """Start nginx before the upstream at this port."""
    program = nginx_program()
    if program is None:
        raise ServerFailed("there is no nginx here; tools/setup.sh nginx installs it")
    port = free_port()
    config = directory / "nginx.conf"
    user = "root" if os.geteuid() == 0 else "nobody"
    config.write_text(_NGINX.format(directory=directory, port=port, upstream=upstream, user=user))
    command = [program, "-p", str(directory), "-c", str(config), "-e", "stderr"]
    return await _started(command, port, directory / "nginx.out", core)


async def start_tokenweir(directory: Path, upstream: int, core: int | None, workers: int = 1) -> Server:
    """Start the gateway before the upstream at this port, with a key of its own."""
    port = free_port()
    config = directory / "gateway.toml"
    settings = GATEWAY.format(directory=directory, port=port, ops=free_port(), upstream=upstream, workers=workers)
    config.write_text(settings + (SHARED_OUT if workers > 1 else ""))
    key = make_key(config)
    output = directory / "gateway.log"
    server = await _started(tokenweir(config, "serve"), port, output, core)
    server.headers["authorization"] = f"Bearer {key}"
    return server


def make_key(config: Path, tenant: str = "bench", plan: str = "default") -> str:
    """Make a tenant, unless it is there, and a new key of it."""
    known = json.loads(_said(config, "tenants", "list", "--json"))
    if tenant not in [row["name"] for row in known]:
        _said(config, "tenants", "create", tenant, "--plan", plan)
    return str(json.loads(_said(config, "keys", "create", "--json", "--tenant", tenant))["key"])


def tokenweir(config: Path, *words: str) -> list[str]:
    """Return the command line of ``tokenweir`` with a configuration."""
    return [sys.executable, "-m", "gateway", *words, "--config", str(config)]


def environment() -> dict[str, str]:
    """Return this process' environment without what would change the gateway's configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_KEPT_OUT)}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}


def pinned(command: Sequence[str], core: int | None) -> list[str]:
    """Return the command that keeps a program on one core."""
    return list(command) if core is None else ["taskset", "-c", str(core), *command]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _said(config: Path, *words: str) -> str:
    command = tokenweir(config, *words)
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(), cwd=config.parent)  # noqa: S603 - our own command line
    if ran.returncode:
        raise ServerFailed(f"tokenweir {' '.join(words)}: {_last_line(ran.stderr)}")
    return ran.stdout


def spawn(command: Sequence[str], output: Path, core: int | None) -> subprocess.Popen[bytes]:
    """Start a process that writes into a file, in that file's directory."""
    with output.open("wb") as file:
        return subprocess.Popen(  # noqa: S603 - our own command line
            pinned(command, core), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            env=environment(), cwd=output.parent,
        )  # fmt: skip


async def _started(command: list[str], port: int, output: Path, core: int | None) -> Server:
    process = spawn(command, output, core)
    server = Server(port, process, output)
    try:
        async with asyncio.timeout(_PATIENCE):
            while not await listens(port):
                if process.poll() is not None:
                    raise ServerFailed(_last_line_of(output))
                await asyncio.sleep(_POLL)
    except TimeoutError:
        await server.stop()
        raise ServerFailed(f"it did not listen within {_PATIENCE:g} s; see {output}") from None
    return server


async def listens(port: int) -> bool:
    """Whether somebody takes connections at a port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _last_line_of(output: Path) -> str:
    return _last_line(output.read_text("utf-8", "replace"))


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"
