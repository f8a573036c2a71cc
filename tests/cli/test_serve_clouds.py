"""``tokenweir serve`` and the clouds: Claude's SDK is there for those who use it, and an extra is asked for by name."""

from __future__ import annotations

import json
import os
import signal

import aiohttp
import pytest

from tests.support.clouds import ALIAS, bedrock, check_signature, vertex
from tests.support.process import ROOT, command, make_key, serving
from tests.support.scripted_upstream import answer, scripted_upstream

OF_THE_CLOUDS = ("anthropic", "httpx2", "boto3", "botocore", "google.auth")
MESSAGE = b'{"type":"message","content":[{"type":"text","text":"Hello"}],"usage":{"output_tokens":2}}'
# A process tells at its end which of some modules it has imported; another lacks one.
TELLING = """
import atexit, sys
atexit.register(lambda: print("IMPORTED", *(name for name in {names} if name in sys.modules), file=sys.stderr))
"""
LACKING = "import sys\nsys.modules[{name!r}] = None\n"


def prepared(directory, code: str) -> str:
    """Return the PYTHONPATH of a process that runs some code when it starts."""
    (directory / "prepared").mkdir()
    (directory / "prepared" / "sitecustomize.py").write_text(code)
    return os.pathsep.join([str(directory / "prepared"), str(ROOT)])


def configured(directory, settings: dict[str, object]) -> None:
    (directory / "config").mkdir()
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if name != "models"]
    models = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in settings.get("models", {}).items()]
    text = "\n".join(["[[upstreams]]", *lines, "[upstreams.models]", *models])
    (directory / "config" / "gateway.toml").write_text(text + "\n")


async def imported(directory, **variables: str) -> set[str]:
    """Serve one request, stop, and return which of the clouds' modules were imported for it."""
    path = prepared(directory, TELLING.format(names=OF_THE_CLOUDS))
    async with serving(directory, "serve", PYTHONPATH=path, **variables) as gateway:
        body = {"model": ALIAS, "max_tokens": 5, "messages": []}
        headers = {"x-api-key": make_key(directory)}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.post(f"{gateway.url}/v1/messages", json=body) as response,
        ):
            assert await response.read() == MESSAGE
        gateway.signal(signal.SIGINT)
        ended = await gateway.end()
    (line,) = [line for line in ended.err.splitlines() if line.startswith("IMPORTED")]
    return set(line.split()[1:])


async def test_claudes_sdk_is_not_imported_where_claudes_own_api_is_asked(tmp_path):
    """It would cost every process 50 MB."""
    async with scripted_upstream(answer(200, MESSAGE)) as claude:
        assert await imported(tmp_path, ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=claude.url) == set()


async def test_a_cloud_is_served_from_the_configuration_file_with_its_libraries_alone(tmp_path):
    async with scripted_upstream(answer(200, MESSAGE)) as aws:
        configured(tmp_path, bedrock(aws.url))
        assert await imported(tmp_path) == {"anthropic", "httpx2", "boto3", "botocore"}
    check_signature(aws.requests[0])


@pytest.mark.parametrize(("cloud", "library"), [(bedrock, "boto3"), (vertex, "google.auth")])
async def test_an_extra_that_is_not_installed_is_one_line_that_says_what_to_install(tmp_path, cloud, library):
    configured(tmp_path, cloud("http://127.0.0.1:9"))
    ended = await command(tmp_path, "serve", PYTHONPATH=prepared(tmp_path, LACKING.format(name=library)))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert f"pip install 'tokenweir[{cloud.__name__}]'" in ended.err


async def test_the_check_of_a_configuration_tells_of_the_missing_extra_and_asks_nobody(tmp_path):
    configured(tmp_path, vertex("http://127.0.0.1:9"))
    path = prepared(tmp_path, LACKING.format(name="google.auth"))
    ended = await command(tmp_path, "config", "check", "--live", PYTHONPATH=path)
    assert ended.code == 2
    assert "google: not asked" in ended.out
    assert "pip install 'tokenweir[vertex]'" in ended.err
    assert "hush" not in ended.out + ended.err
