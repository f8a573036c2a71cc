"""The existing frontends' contract, point by point, through real sockets."""

from __future__ import annotations

import json

from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import scripted_upstream


def frames(body: bytes) -> list[dict]:
    assert body.endswith(b"\n\n")
    return [json.loads(line[6:]) for line in body.decode().split("\n") if line.startswith("data: ")]


async def test_a_post_streams_one_text_frame_for_each_delta_and_ends_in_done(tmp_path):
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url)) as caller:
        async with caller.post("/api/chat/stream", {"message": "Hello"}) as response:
            body = await response.read()
    assert response.status == 200
    *texts, done = frames(body)
    assert [(f["type"], f["token"]) for f in texts] == [("text", "Hel"), ("text", "lo")]
    assert done["type"] == "done"
    assert done["token"] == ""
    assert done["metadata"]["usage"] == {
        "inputTokens": 12,
        "outputTokens": 5,
        "cacheReadTokens": 3,
        "cacheCreationTokens": 0,
    }
    sent = json.loads(claude.requests[0].body)
    assert sent["messages"] == [{"role": "user", "content": "Hello"}]
    assert claude.requests[0].headers["x-api-key"] == "sk-ant-secret-of-the-operator"
