"""docs/chat-stream.md names what the route takes and sends, and its script works as it stands."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest

from gateway.core.call import Summary
from gateway.core.dialects.chat import metadata_of
from gateway.core.dialects.chat_request import ChatRequest
from gateway.core.outcome import Usage
from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings
from tests.support.gateway import configuration, serving

PAGE = (Path(__file__).parents[2] / "docs" / "chat-stream.md").read_text(encoding="utf-8")
FIELDS = PAGE.split("## Asking")[1].split("## The answer")[0]
ADDRESS = "http://127.0.0.1:8080"
RUN = """
const pieces = [];
try {
  const metadata = await ask(process.argv[2], (text) => pieces.push(text));
  console.log(JSON.stringify({ pieces, metadata }));
} catch (error) {
  console.log(JSON.stringify({ pieces, error: error.message }));
}
"""
NODE = shutil.which("node")


def test_every_field_is_documented_and_no_other():
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", FIELDS, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(ChatRequest.model_fields)


def test_everything_that_done_tells_is_documented():
    summary = Summary("req", "model", "end_turn", Usage(), 1, 2, 3.0, 0.1)
    metadata = metadata_of(summary)
    done = next(line for line in PAGE.splitlines() if line.startswith("| `done`"))
    assert set(re.findall(r"`(\w+)`", done.split("|")[3])) == {*metadata, *metadata["usage"]}


async def script(url: str, message: str) -> dict:
    text = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)[0].replace(ADDRESS, url)
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE, "--input-type=module", "-", message,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate((text + RUN).encode())
    return json.loads(out)


@pytest.mark.skipif(NODE is None, reason="no Node.js here; `make test` installs it")
@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("What are your opening hours?", None),
        ("Hello [[sim: status=529]]", "Claude is overloaded at the moment. Please try again shortly."),
        ("Hello [[sim: end-after=3]]", "The answer from Claude ended before its end."),
        ("", "Message is required"),
    ],
)
async def test_the_script_of_the_page_works_as_it_stands(tmp_path, message, error):
    at_once = SimulatorSettings(time_to_first_token=0, tokens_per_second=0, jitter=0)
    anonymous = [{"origins": ["*"], "tenant": "shop"}]
    async with await serve_simulator(at_once) as claude:
        config = configuration(tmp_path, claude.url, anonymous=anonymous, upstream={"retries": 0})
        async with serving(config) as caller:
            told = await script(caller.gateway.url, message)
    assert told.get("error") == error
    if error is None:
        assert "".join(told["pieces"])
        assert told["metadata"]["stopReason"] == "end_turn"
