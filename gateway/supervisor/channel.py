"""Messages between the supervisor and a worker: small JSON objects, with file descriptors, whole and in order.

The other side is never waited for. A message that it does not take, because it hangs and its buffer is full, is
dropped: whoever hangs for so long is killed, and the dead need no messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

Message = dict[str, Any]

_LONGEST = 65_536
_MOST_FDS = 4


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a new connection."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Channel:
    """One end, read on the running loop.

    Args:
        sock: The end.
        heard: Given each message and its descriptors, which it owns then.
        ended: Called once when the other side is gone.
    """

    def __init__(
        self, sock: socket.socket, heard: Callable[[Message, list[int]], None], ended: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._heard = heard
        self._ended = ended
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._read)

    def send(self, what: str, fds: Sequence[int] = (), **more: Any) -> None:
        """Send a message."""
        message = json.dumps({"what": what, **more}).encode()
        with contextlib.suppress(OSError):
            socket.send_fds(self._sock, [message], fds)

    def close(self) -> None:
        """Read and send no more."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def read_rest(self) -> None:
        """Read what has come and was not read yet."""
        while self._sock.fileno() >= 0 and self._read():
            pass

    def _read(self) -> bool:
        """Read one message; return whether there was one."""
        try:
            message, fds, _, _ = socket.recv_fds(self._sock, _LONGEST, _MOST_FDS)
        except BlockingIOError:
            return False
        except OSError:
            message, fds = b"", []
        if message:
            for fd in fds:
                os.set_inheritable(fd, False)
            self._heard(json.loads(message), fds)
            return True
        self.close()
        self._ended()
        return False
