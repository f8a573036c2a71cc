"""What plans allow on Claude's own routes: models, output, betas, and resources of the operator's account."""

from __future__ import annotations

import json

import pytest

from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import answer, scripted_upstream

PATH = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
ASK = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
MESSAGE = b'{"type":"message","content":[]}'


@pytest.fixture
def shop(tmp_path):
    def make(claude, **plan):
        return serving(configuration(tmp_path, claude.url, plans={"default": plan}))

    return make


async def ask(shop, plan, body, path=PATH, **headers):
    """Return the status and the error of an answer, and how often Claude was asked."""
    async with (
        scripted_upstream(answer(200, MESSAGE)) as claude,
        shop(claude, **plan) as caller,
        caller.post(path, body, **headers) as response,
    ):
        told = await response.json()
        return response.status, told.get("error"), len(claude.requests)


@pytest.mark.parametrize("path", [PATH, COUNT])
async def test_a_model_of_the_plan_is_served_and_another_is_a_403_that_names_both(shop, path):
    plan = {"models": ["claude-haiku-*", "claude-sonnet-5-?"]}
    assert (await ask(shop, plan, ASK, path))[::2] == (200, 1)
    assert (await ask(shop, plan, {**ASK, "model": "claude-sonnet-5-5"}, path))[::2] == (200, 1)
    status, error, asked = await ask(shop, plan, {**ASK, "model": "claude-opus-4-1"}, path)
    assert (status, error["type"], asked) == (403, "permission_error", 0)
    assert "claude-opus-4-1" in error["message"]
    assert "claude-haiku-*, claude-sonnet-5-?" in error["message"]


async def test_a_keys_own_plan_narrows_that_of_its_tenant(tmp_path):
    plans = {"default": {"models": ["claude-haiku-*", "claude-opus-*"]}, "narrow": {"models": ["claude-haiku-*"]}}
    async with (
        scripted_upstream(answer(200, MESSAGE)) as claude,
        serving(configuration(tmp_path, claude.url, plans=plans)) as caller,
    ):
        _, key = caller.gateway.store.create_key("acme", caller.gateway.peppers, plan="narrow")
        statuses = {}
        for name, text in (("tenant", caller.key), ("key", key.text)):
            body = {**ASK, "model": "claude-opus-4-1"}
            async with caller.post(PATH, body, authorization=f"Bearer {text}") as response:
                statuses[name] = response.status
    assert statuses == {"tenant": 200, "key": 403}


async def test_more_output_than_the_plan_allows_is_a_400_that_names_it(shop):
    assert (await ask(shop, {"max_output_tokens": 100}, ASK))[::2] == (200, 1)
    status, error, asked = await ask(shop, {"max_output_tokens": 99}, ASK)
    assert (status, error["type"], asked) == (400, "invalid_request_error", 0)
    assert "max_tokens" in error["message"]
    assert "max_output_tokens" in error["message"]
    assert "99" in error["message"]


async def test_counting_tokens_is_not_a_matter_of_output(shop):
    body = {key: value for key, value in ASK.items() if key != "max_tokens"}
    assert (await ask(shop, {"max_output_tokens": 1}, body, COUNT))[::2] == (200, 1)


async def test_a_beta_that_the_plan_lacks_is_a_403_that_names_it(shop):
    plan = {"betas": ["context-*"]}
    assert (await ask(shop, plan, ASK))[0] == 200
    assert (await ask(shop, plan, ASK, **{"anthropic-beta": "context-1m-2025-08-07"}))[0] == 200
    beta = {"anthropic-beta": "context-1m-2025-08-07, code-execution-2025-05-22"}
    status, error, asked = await ask(shop, plan, ASK, **beta)
    assert (status, error["type"], asked) == (403, "permission_error", 0)
    assert "code-execution-2025-05-22" in error["message"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"container": "container_1"}, "container"),
        ({"container": {"skills": [{"skill_id": "x"}]}}, "container"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "file_id",
        ),
        ({"system": [{"type": "text", "text": "x", "source": {"file_id": "f"}}]}, "file_id"),
    ],
)
async def test_resources_of_the_account_need_a_plan_that_allows_them(shop, fields, named):
    body = {**ASK, **fields}
    status, error, asked = await ask(shop, {}, body)
    assert (status, error["type"], asked) == (403, "permission_error", 0)
    assert error["message"].startswith(f"{named}: ")
    assert "account_resources" in error["message"]
    assert (await ask(shop, {"account_resources": True}, body))[::2] == (200, 1)


async def test_a_null_container_and_text_about_files_are_no_resources(shop):
    said = [{"role": "user", "content": 'a "file_id" in text'}]
    assert (await ask(shop, {}, {**ASK, "container": None, "messages": said}))[::2] == (200, 1)


async def test_an_end_user_of_claudes_own_field_counts_for_limits_per_user(shop):
    async with (
        scripted_upstream(answer(200, MESSAGE)) as claude,
        shop(claude, per_user={"requests_per_minute": 1}) as caller,
    ):
        statuses = []
        for user in ("ann", "bob", "ann", None):
            async with caller.post(PATH, {**ASK, "metadata": {"user_id": user}}) as response:
                statuses.append(response.status)
    assert statuses == [200, 200, 429, 200]
    assert json.loads(claude.requests[0].body)["metadata"] == {"user_id": "ann"}  # Claude gets the bytes as they came


async def test_limits_per_key_and_tenant_are_told_with_every_answer(shop):
    plan = {"requests_per_minute": 10, "per_key": {"requests_per_minute": 5}, "concurrent_streams": 20}
    async with (
        scripted_upstream(answer(200, MESSAGE)) as claude,
        shop(claude, **plan) as caller,
        caller.post(PATH, ASK) as response,
    ):
        await response.read()
    assert response.headers["RateLimit-Policy"] == (
        '"key-requests-per-minute";q=5;w=60, "tenant-requests-per-minute";q=10;w=60, '
        '"tenant-concurrent-streams";q=20;qu="concurrent-requests"'
    )
    limits = [item.split(";")[:2] for item in response.headers["RateLimit"].split(", ")]
    assert limits == [
        ['"key-requests-per-minute"', "r=4"],
        ['"tenant-requests-per-minute"', "r=9"],
        ['"tenant-concurrent-streams"', "r=19"],
    ]


async def test_a_plan_that_is_not_configured_is_a_503(tmp_path):
    async with (
        scripted_upstream() as claude,
        serving(configuration(tmp_path, claude.url), plan="gone") as caller,
        caller.post(PATH, ASK) as response,
    ):
        assert response.status == 503
    assert not claude.requests
