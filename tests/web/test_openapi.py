"""The OpenAPI document is true: schemathesis sends what it allows and what it forbids, and finds nothing else.

Against a real gateway, a real key and the pretend Claude at full speed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.core.dialects.chat_request import ChatRequest
from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings
from gateway.web.openapi import public_document
from gateway.web.routes import add_routes
from tests.support.gateway import Caller, configuration, serving

HOOKS = Path(__file__).parent.parent / "support" / "schemathesis_hooks.py"
FAST = SimulatorSettings(tokens_per_second=0, time_to_first_token=0, jitter=0)
TEXT = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string", "minLength": 1}},
    "required": ["type", "text"],
}


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """Tighten what the document leaves open, so that what is sent can be judged, and no status passes unnamed."""
    for item in document["paths"].values():
        for operation in item.values():
            operation["responses"].pop("default", None)
    # Claude judges blocks and cursors: only such as it takes for certain.
    document["components"]["schemas"]["ClaudeContentBlock"] = TEXT
    for parameter in document["paths"]["/v1/models"]["get"]["parameters"]:
        if parameter["name"].endswith("_id"):
            parameter["schema"]["enum"] = ["claude-opus-5"]
    return document


def settings(key: str) -> str:
    """Configure what the command line cannot: the key, whole streams, and that 413 and 414 are refusals too.

    Keys are not generated, because two different ones are an error by themselves. ``ignored_auth`` still tries all
    operations without the key and with wrong ones.
    """
    return f"""
max-stream-events = 10000
[generation]
with-security-parameters = false
[auth.openapi.BearerKey]
bearer = "{key}"
[checks]
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "413", "414"]
"""


async def schemathesis(document: dict, url: str, config: str, folder: Path, *options: str) -> tuple[int, str]:
    (folder / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "schemathesis.toml").write_text(config, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", "schemathesis.toml", "--no-color"),
        # All checks. The stateful phase is left out: no answer names a resource that another operation takes.
        *("run", "openapi.json", "--url", url, "--phases", "examples,coverage,fuzzing", "--checks", "all"),
        *("--generation-deterministic", "--max-examples", "15", "--continue-on-failure"),
        *("--suppress-health-check", "all", *options),
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS), "PYTHONPATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def document_of(caller: Caller, url: str) -> dict[str, Any]:
    async with caller.session.get(url + "/openapi.json") as response:
        assert response.content_type == "application/json"
        return await response.json()


def patient(folder: Path, url: str, **sections: Any):
    """Configure a gateway that does not lock the one address out that all wrong keys come from."""
    return configuration(folder, url, keys={"failures_per_minute": 1_000_000}, **sections)


async def test_what_the_document_says_is_so(tmp_path):
    async with await serve_simulator(FAST) as claude, serving(patient(tmp_path, claude.url)) as caller:
        url = caller.gateway.url
        document = strict(await document_of(caller, url))
        status, output = await schemathesis(document, url, settings(caller.key), tmp_path)
    assert status == 0, output
    assert "12 passed" in output, output


async def test_what_the_document_says_to_operators_is_so(tmp_path):
    async with await serve_simulator(FAST) as claude, serving(patient(tmp_path, claude.url)) as caller:
        url = caller.gateway.ops_url
        status, output = await schemathesis(await document_of(caller, url), url, "", tmp_path)
    assert status == 0, output


async def test_lies_would_be_found(tmp_path):
    """What the runs above prove: that frames inside a stream, headers, statuses and authentication are looked at."""
    anyone = [{"origins": ["*"], "tenant": "shop", "plan": "default"}]
    sections = {"anonymous": anyone, "anonymous_default": {"requests": 1_000_000}}
    async with await serve_simulator(FAST) as claude, serving(patient(tmp_path, claude.url, **sections)) as caller:
        url = caller.gateway.url
        document = strict(await document_of(caller, url))
        document["components"]["schemas"]["ChatMetadata"]["properties"]["durationMs"] = {"type": "string"}
        document["components"]["headers"]["X-Request-Id"]["schema"] = {"type": "integer"}
        del document["paths"]["/api/chat/stream"]["get"]["responses"]["400"]
        only = ("--include-operation-id", "streamChatGet", "--phases", "coverage")
        status, output = await schemathesis(document, url, settings(caller.key), tmp_path, *only)
    assert status == 1
    assert "SSE event payload violates content schema" in output, output
    assert "Response header does not conform to the schema" in output
    assert "Received: 400" in output, output
    assert "API accepts requests without authentication" in output, output


async def test_every_public_route_is_described(tmp_path):
    async with await serve_simulator(FAST) as claude, serving(configuration(tmp_path, claude.url)) as caller:
        document = await document_of(caller, caller.gateway.url)
        assert document == json.loads(json.dumps(public_document()))
    app = web.Application()
    add_routes(app)
    described = {(method, path) for path, item in document["paths"].items() for method in item}
    served = {(route.method.lower(), route.resource.canonical) for route in app.router.routes()}
    assert served - described == {("head", "/health")}  # what GET brings with it


def test_the_request_is_the_model_that_reads_it():
    schemas = public_document()["components"]["schemas"]
    assert list(schemas["ChatRequest"]["properties"]) == list(ChatRequest.model_fields)
    assert schemas["ChatRequest"]["properties"]["messages"]["items"] == {"$ref": "#/components/schemas/ChatTurn"}
