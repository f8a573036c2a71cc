"""The public address, as one listening socket for each worker; the kernel spreads new connections over them.

- Measured with 200 connections and two workers: one socket that both accept from gave 11 to 58 % to the first (with 20,
  0 to 95 %), because the kernel wakes them in a fixed order; sockets of their own gave 46 to 55 %.
- The supervisor keeps every socket open, so the connections that wait at one are lost neither when its worker dies nor
  when another takes it over.
"""

from __future__ import annotations

import socket
from typing import Any

from gateway.supervisor.errors import StartFailed


class Doors:
    """The listening sockets of one address.

    Args:
        address: The family's number, then what ``bind`` takes; free a moment ago.
        written: The same as the operator wrote it.
    """

    def __init__(self, address: list[Any], written: str) -> None:
        self._family, *_ = address
        self._name = tuple(address[1:])
        self._written = written
        self.sockets: list[socket.socket] = []

    @property
    def address(self) -> str:
        """Where they are reached: HOST:PORT."""
        return address_of(self._name)

    def widen(self, count: int) -> None:
        """Have so many sockets at least.

        Raises:
            StartFailed: The address is taken.
        """
        while len(self.sockets) < count:
            self.sockets.append(bound([self._family, *self._name], self._written, "--listen", shared=True))

    def open(self, backlog: int, send_buffer: int) -> None:
        """Let connections come, and wait until a worker takes them.

        Raises:
            StartFailed: Another process was quicker.
        """
        try:
            for sock in self.sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
                sock.listen(backlog)
        except OSError as error:
            raise _refusal(self._written, "--listen", error) from None

    def close(self) -> None:
        """Refuse connections, unless a worker has a socket still."""
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()


def address_of(name: tuple[Any, ...]) -> str:
    """Return HOST:PORT of a socket's name."""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bound(address: list[Any], written: str, option: str, *, shared: bool = False) -> socket.socket:
    """Return a socket that is bound and does not block.

    Args:
        address: The family's number, then what ``bind`` takes.
        written: The same as the operator wrote it.
        option: The option that chooses another.
        shared: Whether others are to be bound to the same address.

    Raises:
        StartFailed: The address is taken.
    """
    family, *name = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        sock.bind(tuple(name))
    except OSError as error:
        sock.close()
        raise _refusal(written, option, error) from None
    sock.setblocking(False)
    return sock


def _refusal(written: str, option: str, error: OSError) -> StartFailed:
    return StartFailed(f"cannot listen on {written}: {error.strerror}; choose another with {option}")
