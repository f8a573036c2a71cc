"""The listening sockets that workers are given."""

from __future__ import annotations

import socket

import pytest

from gateway.supervisor.errors import StartFailed
from gateway.supervisor.sockets import Doors, address_of, bound


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def address(port):
    return [int(socket.AF_INET), "127.0.0.1", port]


def test_all_sockets_have_one_address(port):
    doors = Doors(address(port), "127.0.0.1:0")
    doors.widen(2)
    doors.widen(3)
    doors.widen(1)
    assert [sock.getsockname() for sock in doors.sockets] == [("127.0.0.1", port)] * 3
    assert doors.address == f"127.0.0.1:{port}"
    doors.close()
    assert doors.sockets == []


def test_connections_are_refused_until_the_doors_are_open_and_wait_from_then_on(port):
    doors = Doors(address(port), "127.0.0.1:0")
    doors.widen(2)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
    doors.open(16, 65_536)
    with socket.create_connection(("127.0.0.1", port)):
        assert doors.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 65_536
    doors.close()


def test_what_is_taken_is_said_with_the_option_that_chooses_another():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=r"cannot listen on localhost:7: .* in use; choose another with --listen"):
            Doors(address(port), "localhost:7").widen(1)
        with pytest.raises(StartFailed, match="--ops-listen"):
            bound(address(port), "localhost:7", "--ops-listen")


def test_another_that_was_quicker_between_binding_and_listening_is_said_as_well(port):
    doors = Doors(address(port), "127.0.0.1:0")
    with bound(address(port), "", "") as quicker, bound(address(port), "", "") as slower:
        quicker.listen()
        doors.sockets.append(slower)
        with pytest.raises(StartFailed, match="in use"):
            doors.open(1, 65_536)


def test_an_ipv6_address_is_written_in_brackets():
    assert address_of(("::1", 80, 0, 0)) == "[::1]:80"
