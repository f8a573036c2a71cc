"""aiohttp's edges: what is no HTTP, what is too long, and sockets that are taken."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from aiohttp import web

from gateway.web.server import BoundSocket, ListenError, Runner
from gateway.web.settings import ServerSettings
from tests.support.gateway import configuration, serving
from tests.support.observed import observed
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import scripted_upstream

NOWHERE = "http://127.0.0.1:1"
SECRET = b"a-prompt-that-nobody-may-see"


async def _sent(tmp_path, data: bytes, **server):
    """Send bytes to a gateway; return its answer, after which it closes the connection, and the log."""
    async with (
        serving(configuration(tmp_path, NOWHERE, server=server)) as caller,
        connected(caller.gateway.url) as wire,
    ):
        await wire.send(data)
        status, headers, body = await wire.answer()
        rest = await wire.rest()
    assert rest == b""
    return status, headers, body, (tmp_path / "log.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SECRET + b"\r\n\r\n", 400),
        (SECRET + b"\r\n\r\n", 400),
        (b"GET /api/chat/stream?message=" + SECRET + b" HTTP/9.9\r\n\r\n", 400),
        (b"GET /api/chat/stream?message=" + SECRET + b"\x00 HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n" + SECRET + b"\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\n" + SECRET + b" : b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" + SECRET, 400),
        (b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: " + SECRET + b"\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 200 + b"\r\n", 400),
        (b"GET /api/chat/stream?message=" + SECRET * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nCookie: " + SECRET * 2_000 + b"\r\n\r\n", 431),
    ],
    ids=["tls", "garbage", "version", "nul", "header", "space", "lengths", "length", "headers", "long line", "long"],
)
async def test_what_is_no_request_is_told_so_in_json_without_an_echo(tmp_path, data, status):
    answered, headers, body, log = await _sent(tmp_path, data)
    told = json.loads(body)
    assert answered == status
    assert headers["Content-Type"].startswith("application/json")
    if data.startswith(b"POST /v1/"):
        assert told["error"]["type"] == "invalid_request_error"
        assert headers["request-id"] == told["request_id"]
    else:
        assert told["code"] in {"invalid_request", "query_too_long", "header_too_large"}
        assert headers["X-Request-Id"] == told["requestId"]
    assert headers["Vary"] == "Origin"
    assert headers["Cache-Control"] == "no-store"
    assert SECRET not in body
    assert SECRET not in log


@pytest.mark.parametrize(
    ("setting", "data", "status"),
    [
        ("max_request_line", b"GET /health?" + b"x" * 2000 + b" HTTP/1.1\r\n\r\n", 414),
        ("max_header", b"GET /health HTTP/1.1\r\ncookie: " + b"x" * 2000 + b"\r\n\r\n", 431),
    ],
)
async def test_the_longest_lines_are_the_operators_choice(tmp_path, setting, data, status):
    assert (await _sent(tmp_path, data, **{setting: 1000}))[0] == status


async def test_what_was_not_understood_can_be_found_by_its_request_id_and_tells_no_versions(tmp_path):
    _, headers, _, log = await _sent(tmp_path, b"nonsense\r\n\r\n")
    assert headers["Server"] == "tokenweir"
    assert headers["X-Request-Id"].encode() in log


@pytest.mark.parametrize(
    ("expect", "length", "asked"), [("100-continue", 2, True), ("100-continue", 99_999_999, False), ("bogus", 2, False)]
)
async def test_only_a_client_that_asks_for_a_body_of_allowed_size_is_told_to_go_on(tmp_path, expect, length, asked):
    head = f"POST /api/chat/stream HTTP/1.1\r\nHost: x\r\nExpect: {expect}\r\nContent-Length: {length}\r\n\r\n"
    async with serving(configuration(tmp_path, NOWHERE)) as caller, connected(caller.gateway.url) as wire:
        await wire.send(head.encode() + b"{}")
        if asked:
            await wire.until(b"HTTP/1.1 100 Continue\r\n\r\n")
        status, headers, _ = await wire.answer()
    assert status == 401
    assert "X-Request-Id" in headers


async def test_scanners_are_one_quiet_line_in_the_log(tmp_path):
    *_, log = await _sent(tmp_path, b"nonsense\r\n\r\n")
    (line,) = [json.loads(line) for line in log.splitlines()]
    assert (line["event"], line["level"], line["route"], line["status"]) == ("request", "info", "other", 400)


async def _one_round(caller):
    """Let the gateway read what has been sent, before more of it comes."""
    async with caller.session.get(caller.gateway.ops_url + "/livez") as response:
        assert response.status == 200


BROKEN = b" HTTP/1.1\r\n" + SECRET + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "claudes"),
    [
        ([b"POST /v1/messages" + BROKEN], True),
        ([b"HEAD /v1" + BROKEN], True),
        ([b"GET /v1/models?x" + BROKEN], True),
        ([b"\r\nOPTIONS /v1/models" + BROKEN], True),
        ([b"POST", b" ", b"/v", b"1/messages HTTP/1.1\r\n", BROKEN[11:]], True),
        ([b"GET /v1-messages" + BROKEN], False),
        ([b"GET /api/chat/stream?message=/v1/" + BROKEN], False),
        ([b"nonsense\r\n\r\nGET /v1/models\r\n\r\n"], False),
        ([b"\xff /\xff\r\n\r\n"], False),
    ],
)
async def test_what_cannot_be_parsed_is_answered_in_the_shape_of_its_route(tmp_path, pieces, claudes):
    """Also when its first line comes in pieces: an SDK must be able to read the error."""
    async with observed(configuration(tmp_path, NOWHERE)) as (caller, outcomes), connected(caller.gateway.url) as wire:
        for piece in pieces:
            await wire.send(piece)
            await _one_round(caller)
        status, _, body = await wire.answer()
        assert await wire.rest() == b""
        assert (await outcomes.only()).error_code == "invalid_request"
    told = json.loads(body)
    assert status == 400
    assert set(told) == ({"type", "error", "request_id"} if claudes else {"error", "code", "requestId"})


async def test_what_cannot_be_parsed_is_one_outcome_like_any_other(tmp_path):
    async with observed(configuration(tmp_path, NOWHERE)) as (caller, outcomes):
        for path in ("/api/chat/stream?message=", "/v1/messages?"):
            async with connected(caller.gateway.url) as wire:
                await wire.send(f"GET {path}".encode() + SECRET + BROKEN)
                _, headers, _ = await wire.answer()
                assert await wire.rest() == b""
            outcome = (await outcomes.reach(1)).pop()
            assert outcome.request_id == headers["X-Request-Id"]
            assert (outcome.route, outcome.dialect, outcome.kind) == ("other", "none", "refused")
            assert (outcome.status, outcome.error_code, outcome.error_origin) == (400, "invalid_request", "client")
            assert SECRET.decode() not in repr(outcome)
            assert outcomes.addresses.pop() == "127.0.0.1"
        async with caller.session.get(caller.gateway.ops_url + "/metrics") as response:
            metrics = await response.text()
    assert 'code="invalid_request"' in metrics


@pytest.mark.parametrize("torn", [False, True])
async def test_the_shape_is_that_of_the_request_that_is_broken_not_of_one_before_it(tmp_path, torn):
    """A body may look like a request line, and come in the packet after its head."""
    good = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n", b"GET /v1/models HTTP/1.1".ljust(30)
    async with serving(configuration(tmp_path, NOWHERE)) as caller, connected(caller.gateway.url) as wire:
        for piece in good if torn else (b"".join(good),):
            await wire.send(piece)
            await _one_round(caller)
        status, _, _ = await wire.answer()
        assert status == 401
        await wire.send(b"GET /health" + BROKEN)
        status, _, body = await wire.answer()
    assert (status, json.loads(body)["code"]) == (400, "invalid_request")


async def test_the_operators_address_answers_what_it_cannot_parse_without_an_outcome(tmp_path):
    async with observed(configuration(tmp_path, NOWHERE)) as (caller, outcomes):
        async with connected(caller.gateway.ops_url) as wire:
            await wire.send(SECRET + b"\r\n\r\n")
            status, headers, body = await wire.answer()
        assert outcomes.all == []
    assert (status, json.loads(body)["code"], headers["Server"]) == (400, "invalid_request", "tokenweir")


async def test_a_query_as_long_as_the_frontends_may_send_reaches_the_route(tmp_path):
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url)) as caller:
        query = "%E4%BD%A0" * 5_000  # 15 kB of Chinese, 45 kB as it is sent
        async with caller.get(f"/api/chat/stream?message={query}") as response:
            assert response.status == 200


async def test_a_fault_while_the_answer_is_finished_is_a_500_without_details(tmp_path):
    """Nothing foreseen: the code that tells the outcome breaks, outside of every net but the last."""
    async with serving(configuration(tmp_path, NOWHERE)) as caller, connected(caller.gateway.url) as wire:
        caller.gateway.services.telling._ended = None
        await wire.send(request_bytes("GET", "/health"))
        status, _, body = await wire.answer()
        assert await wire.rest() == b""
        caller.gateway.services.telling._ended = []
    assert status == 500
    assert json.loads(body)["code"] == "internal_error"
    assert b"NoneType" not in body


async def test_a_fault_after_the_stream_has_begun_resets_the_connection(tmp_path):
    """HTTP/1.0 has no framing: a second answer, or an end in order, would pass for the end of the stream."""
    async with (
        scripted_upstream() as claude,
        serving(configuration(tmp_path, claude.url)) as caller,
        connected(caller.gateway.url) as wire,
    ):
        caller.gateway.services.telling._ended = None
        head = f"GET /api/chat/stream?message=hi HTTP/1.0\r\nAuthorization: Bearer {caller.key}\r\n\r\n"
        await wire.send(head.encode())
        with pytest.raises(ConnectionResetError):
            await wire.rest()
        caller.gateway.services.telling._ended = []


async def test_garbage_behind_a_request_does_not_disturb_its_answer(tmp_path):
    async with (
        scripted_upstream() as claude,
        serving(configuration(tmp_path, claude.url)) as caller,
        connected(caller.gateway.url) as raw,
    ):
        await raw.send(request_bytes("GET", "/api/chat/stream?message=hi", f"x-api-key: {caller.key}"))
        await raw.until(b"Hel")
        await raw.send(b"no request\r\n\r\n")
        answered = await raw.rest()
    assert b'"type":"done"' in answered


def test_a_taken_port_is_a_sentence_that_names_the_option():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenError) as caught:
            BoundSocket(address, "--listen", ServerSettings())
    assert str(caught.value) == f"cannot listen on {address}: Address already in use; choose another with --listen"


def test_a_host_that_does_not_exist_is_a_sentence():
    with pytest.raises(ListenError, match=r"cannot listen on nowhere\.invalid:80: .*--ops-listen"):
        BoundSocket("nowhere.invalid:80", "--ops-listen", ServerSettings())


async def test_connections_are_refused_until_it_serves_and_capped_after():
    """A load balancer that only connects must not take a gateway for ready that is not."""
    with BoundSocket("127.0.0.1:0", "--listen", ServerSettings(send_buffer=65_536)) as bound:
        port = bound._socket.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        runner = Runner(web.Application(), ServerSettings())
        await runner.setup()
        await bound.serve(runner)
        async with connected(f"http://127.0.0.1:{port}") as wire:
            await wire.send(request_bytes("GET", "/"))
            assert (await wire.answer())[0] == 404
            (connection,) = runner.server.connections
            accepted = connection.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 65_536
        await runner.cleanup()


async def test_of_two_that_bound_the_same_port_the_slower_one_is_told():
    """Binding alone is no claim: the port is had by who listens first."""
    with BoundSocket("127.0.0.1:0", "--listen", ServerSettings()) as first:
        address = f"127.0.0.1:{first._socket.getsockname()[1]}"
        with BoundSocket(address, "--listen", ServerSettings()) as second:
            runners = [Runner(web.Application(), ServerSettings()) for _ in range(2)]
            for runner in runners:
                await runner.setup()
            await first.serve(runners[0])
            with pytest.raises(ListenError, match="Address already in use"):
                await second.serve(runners[1])
            for runner in runners:
                await runner.cleanup()


async def test_stopping_before_the_start_is_no_error():
    await Runner(web.Application(), ServerSettings()).stop_accepting()
