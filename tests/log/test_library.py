"""Lines of libraries hold nothing that a request brought; through a real server and real sockets."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest
from aiohttp import web

from gateway.log.library import LibraryHandler

SECRET = "S3cr3t"


def _record(name: str, msg: object, *args: object, **kw: object) -> None:
    logging.getLogger(name).warning(msg, *args, **kw)


@pytest.mark.parametrize(
    ("name", "msg", "args", "event"),
    [
        ("aiohttp.server", "Error handling request from %s", ("192.0.2.1",), "Error handling request"),
        ("aiohttp.server", f"Web-handler should return a response instance, got '{SECRET}'", (), None),
        (
            "asyncio",
            f"Exception in callback relay(b'{SECRET}')\nhandle: <Handle {SECRET}>",
            (),
            "Exception in callback relay",
        ),
        ("asyncio", f"Executing <Handle {SECRET}> took 0.2 seconds", (), "Executing"),
        ("asyncio", f"<Task {SECRET}>", (), "message withheld"),
        ("sqlalchemy.pool", "Exception during reset of %r", (SECRET,), "Exception during reset of"),
        ("someone", f"prompt {SECRET}", (), "message withheld"),
        ("someone", ValueError(SECRET), (), "message withheld"),
    ],
)
def test_only_the_constant_part_of_a_message_is_logged(written, name, msg, args, event):
    _record(name, msg, *args)
    assert SECRET not in written.text
    assert "192.0.2.1" not in written.text
    assert written.line["event"] == (event or "Web-handler should return a response instance, got")
    assert written.line["logger"] == name
    assert written.line["where"].startswith("test_library:")


def test_aiohttps_access_lines_are_ours_to_write(written):
    written.configure(library_level="info")
    logging.getLogger("aiohttp.access").info("GET /?message=%s", SECRET)
    assert written.text == ""


def test_levels_of_libraries_are_kept_and_have_their_own_threshold(written):
    logging.getLogger("aiohttp.server").info("not this")
    logging.getLogger("aiohttp.server").critical("this")
    assert (written.line["level"], written.line["event"]) == ("critical", "this")


def test_a_record_that_cannot_be_logged_is_counted_and_breaks_nothing(written):
    class Broken(list):
        def __getitem__(self, _):
            raise RuntimeError

    record = logging.LogRecord("asyncio", logging.ERROR, "x.py", 1, "x", (), None)
    record.exc_info = Broken([1])
    (handler,) = [h for h in logging.getLogger().handlers if isinstance(h, LibraryHandler)]
    handler.handle(record)
    assert written.log.dropped == 1


async def _never_awaited():
    raise ValueError(SECRET)


async def test_a_task_whose_exception_nobody_took_is_an_error_line(written):
    task = asyncio.get_running_loop().create_task(_never_awaited())
    await asyncio.wait((task,))
    del task
    gc.collect()
    assert (written.line["level"], written.line["event"]) == ("error", "Task exception was never retrieved")
    assert written.line["error_type"] == "ValueError"
    assert SECRET not in written.text


async def test_a_callback_that_failed_is_an_error_line_without_its_arguments(written):
    loop = asyncio.get_running_loop()
    loop.call_soon(bytes.decode, b"\xff" + SECRET.encode())
    done = asyncio.Event()
    loop.call_soon(done.set)
    await done.wait()
    assert (written.line["level"], written.line["error_type"]) == ("error", "UnicodeDecodeError")
    assert SECRET not in written.text


async def test_what_was_left_unclosed_is_an_error_line(written):
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": "Unclosed client session", "client_session": SECRET})
    assert (written.line["level"], written.line["event"]) == ("error", "Unclosed client session")
    assert SECRET not in written.text


@pytest.fixture
async def served():
    """The address of an aiohttp server whose handler fails, with aiohttp's own limits."""

    async def fail(request):
        body = await request.text()
        raise ValueError(f"{request.path_qs} {request.headers} {body}")

    async def wrong(_):
        return f"{SECRET} is not a response"

    app = web.Application()
    app.router.add_route("*", "/fail", fail)
    app.router.add_get("/wrong", wrong)
    runner = web.AppRunner(app, access_log=logging.getLogger("aiohttp.access"))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0]
    await runner.cleanup()


async def _send(address, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


HOST = b"Host: x\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"S3cr3t garbage that is no HTTP\r\n\r\n", id="garbage"),
        pytest.param(b"GET /fail?message=S3cr3t prompt with spaces HTTP/1.1\r\n" + HOST + b"\r\n", id="bad-target"),
        pytest.param(b"GET /fail?message=S3cr3t" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", id="long-line"),
        pytest.param(
            b"GET /fail HTTP/1.1\r\n" + HOST + b"x-api-key: S3cr3t" + b"x" * 20_000 + b"\r\n\r\n", id="long-header"
        ),
        pytest.param(b"GET /fail HTTP/1.1\r\n" + HOST + b"x-S3cr3t key: 1\r\n\r\n", id="bad-header"),
        pytest.param(b"GET /fail HTTP/1.1\r\n" + HOST + b"Content-Length: S3cr3t\r\n\r\n", id="bad-length"),
        pytest.param(b"\x16\x03\x01S3cr3t\r\n\r\n", id="tls-on-a-plain-port"),
    ],
)
async def test_a_request_that_cannot_be_parsed_leaves_its_kind_and_nothing_of_itself(written, served, request_bytes):
    written.configure(level="debug", library_level="debug")
    assert b"400 Bad Request" in await _send(served, request_bytes)
    (line,) = [line for line in written.lines if line["logger"] == "aiohttp.server"]
    assert (line["level"], line["event"]) == ("info", "bad HTTP request")
    assert line["error_type"].startswith("aiohttp.http_exceptions.")
    assert SECRET not in written.text
    assert "127.0.0.1" not in written.text


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(
            b"POST /fail?message=S3cr3t HTTP/1.1\r\nx-api-key: S3cr3t\r\nContent-Length: 6\r\n" + HOST + b"\r\nS3cr3t",
            id="handler-raises",
        ),
        pytest.param(b"GET /wrong?message=S3cr3t HTTP/1.1\r\n" + HOST + b"\r\n", id="handler-returns-text"),
    ],
)
async def test_a_handler_that_fails_leaves_an_error_line_and_nothing_of_the_request(written, served, request_bytes):
    written.configure(level="debug", library_level="info")
    assert b"500 Internal Server Error" in await _send(served, request_bytes)
    assert [line["level"] for line in written.lines] == ["error"]
    assert SECRET not in written.text
    assert "127.0.0.1" not in written.text
