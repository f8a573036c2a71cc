"""A PostgreSQL server for tests: a cluster of its own in a temporary directory, reached through a Unix socket.

It trusts whoever reaches the socket, which is where nobody else looks, and gives up safety for speed (fsync is off):
what a test of durability needs is set by that test.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_size": "256MB",
}


class Cluster:
    """A running server. Databases are made empty, as many as are wanted."""

    def __init__(self, programs: Path, directory: Path, user: str) -> None:
        self._programs = programs
        self._directory = directory
        self._data = directory / "data"
        self._user = user
        self._names = (f"test{number}" for number in itertools.count(1))

    def make(self) -> None:
        self._run("initdb", "--auth=trust", "--username=tokenweir", "--encoding=UTF8", "--no-locale", "--no-sync")
        settings = [f"{name} = '{value}'" for name, value in _SETTINGS.items()]
        settings.append(f"unix_socket_directories = '{self._directory}'")
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\n".join(settings) + "\n")

    def start(self) -> None:
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self._directory}/log")

    def stop(self, mode: str = "immediate") -> None:
        """Stop as a crash does (``immediate``), or in order (``fast``)."""
        self._run("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the server and all that it runs stand still: it neither answers nor closes anything."""
        stopped = [self.process]
        os.kill(self.process, signal.SIGSTOP)
        stopped += self._children()
        for process in stopped[1:]:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in reversed(stopped):
                os.kill(process, signal.SIGCONT)

    @property
    def process(self) -> int:
        return int((self._data / "postmaster.pid").read_text(encoding="ascii").split()[0])

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = next(self._names)
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://tokenweir@/{name}?host={self._directory}"

    def _conninfo(self, name: str) -> str:
        return f"host={self._directory} user=tokenweir dbname={name}"

    def _children(self) -> list[int]:
        path = Path(f"/proc/{self.process}/task/{self.process}/children")
        return [int(number) for number in path.read_text(encoding="ascii").split()]

    def _run(self, program: str, *arguments: str) -> None:
        ended = subprocess.run(
            [self._programs / program, "--pgdata", self._data, *arguments],
            user=self._user, group=pwd.getpwnam(self._user).pw_gid, cwd=self._directory, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if ended.returncode:
            raise RuntimeError(f"{program}: {ended.stderr}")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a server, or skip the test where none is installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: tools/setup.sh postgresql")
    user = _user()
    # Not below pytest's own directory, which only its owner may enter; and the path of a socket has 107 bytes at most.
    directory = Path(tempfile.mkdtemp(prefix="tokenweir-"))
    shutil.chown(directory, user)
    try:
        server = Cluster(programs, directory, user)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


def _programs() -> Path | None:
    """Return where the newest server is; Debian has it on nobody's PATH."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).parent


def _user() -> str:
    """Return who runs the server, which refuses to be root."""
    return pwd.getpwuid(os.getuid()).pw_name if os.getuid() else "postgres"
