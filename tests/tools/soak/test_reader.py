"""What a client understands of an answer's bytes."""

import asyncio

from tests.support.observed import eventually
from tools.soak.reader import Reader, understand

CHAT = (
    b'data: {"token":"a","type":"text","timestamp":1}\n\n'
    b'data: {"token":"b","type":"text","timestamp":2}\n\n'
    b'data: {"token":"","type":"done","metadata":{"usage":{"inputTokens":3,"outputTokens":2}}}\n\n'
)
CLAUDES = (
    b'event: message_start\ndata: {"usage":{"output_tokens": 1}}\n\n'
    b"event: content_block_delta\ndata: {}\n\nevent: content_block_delta\ndata: {}\n\n"
    b'event: message_delta\ndata: {"usage":{"output_tokens":2}}\n\nevent: message_stop\ndata: {}\n\n'
)


def test_pieces_and_the_last_count_that_was_told_are_read_in_both_dialects():
    for route, body in (("chat", CHAT), ("messages", CLAUDES)):
        answer = understand(route, stream=True, status=200, body=body, complete=True)
        assert (answer.good, answer.frames, answer.told) == (True, 2, 2)


def test_an_answer_without_its_end_or_with_an_error_is_not_good():
    assert not understand("chat", stream=True, status=200, body=CHAT, complete=False).good
    assert not understand("chat", stream=True, status=200, body=CHAT[: CHAT.rindex(b"data: ")], complete=True).good
    assert not understand("messages", stream=False, status=529, body=b"{}", complete=True).good
    assert (
        understand("messages", stream=True, status=200, body=CLAUDES[: CLAUDES.rindex(b"event")], complete=True).told
        is None
    )


def test_an_answer_that_is_no_stream_is_good_when_http_says_that_it_is_whole():
    answer = understand("chat", stream=False, status=200, body=b'{"usage":{"outputTokens":7}}', complete=True)
    assert (answer.good, answer.frames, answer.told) == (True, 0, 7)


async def test_a_connection_is_used_again_until_it_is_closed():
    async def serve(reader, writer):
        for last in (False, True):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            if last:
                writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    _, client = await asyncio.get_running_loop().create_connection(Reader, *address)
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    await client.finished.wait()
    assert (client.status, bytes(client.body), client.complete, client.reusable) == (200, b"hi", True, True)
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    await client.finished.wait()
    await eventually(lambda: not client.reusable)
    assert client.complete
    server.close()
    await server.wait_closed()
