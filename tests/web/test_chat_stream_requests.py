"""What ``/api/chat/stream`` takes: both forms of the deployed frontends, our fields on top, and their limits."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from tests.support.frames import frames, joined
from tests.support.gateway import configuration, serving
from tests.support.raw_client import connected
from tests.support.scripted_upstream import scripted_upstream

KIB = 1024
CHINESE = "请" * (16 * KIB // 3) + "x"  # 16 KiB of UTF-8, 48 KiB in a query string
PATH = "/api/chat/stream"


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


async def sent(shop, body, **chat):
    """Post a body; return what Claude was sent."""
    async with scripted_upstream() as claude, shop(claude, chat=chat) as caller, caller.post(PATH, body) as response:
        assert response.status == 200, await response.text()
        assert frames(await response.read())[-1]["type"] == "done"
        return json.loads(claude.requests[0].body)


async def refused(shop, body, **sections):
    """Post a body that is refused before Claude is asked; return status and answer."""
    async with scripted_upstream() as claude, shop(claude, **sections) as caller, caller.post(PATH, body) as response:
        assert not claude.requests
        return response.status, await response.json()


# The frontends' own forms.


async def test_the_old_get_sends_the_message_and_the_defaults_of_the_configuration(shop):
    chat = {"model": "claude-haiku-4-5", "max_tokens": 300, "system": "You sell shoes."}
    async with (
        scripted_upstream() as claude,
        shop(claude, chat=chat) as caller,
        caller.get(PATH + "?message=What%20now%3F", Accept="text/event-stream") as response,
    ):
        assert joined(frames(await response.read())) == "Hello"
    assert claude.requests[0].line == "POST /v1/messages HTTP/1.1"
    assert json.loads(claude.requests[0].body) == {
        "model": "claude-haiku-4-5",
        "max_tokens": 300,
        "system": "You sell shoes.",
        "messages": [{"role": "user", "content": "What now?"}],
        "stream": True,
    }


async def test_the_old_get_may_bring_a_system_prompt_and_other_parameters_are_ignored(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        query = "?message=Hi+there&system=Be%20brief&cacheBuster=17&model=claude-opus-4-1"
        async with caller.get(PATH + query) as response:
            await response.read()
    body = json.loads(claude.requests[0].body)
    assert body["system"] == "Be brief"
    assert body["messages"] == [{"role": "user", "content": "Hi there"}]
    assert body["model"] == "claude-sonnet-5-5"


async def test_the_old_post_may_bring_a_system_prompt(shop):
    body = await sent(shop, {"message": "Hi", "systemPrompt": "Be brief"})
    assert body["system"] == "Be brief"
    assert body["messages"] == [{"role": "user", "content": "Hi"}]


async def test_without_a_system_prompt_none_is_sent(shop):
    assert "system" not in await sent(shop, {"message": "Hi", "systemPrompt": ""})


async def test_a_post_of_another_content_type_is_read_as_json(shop):
    assert (await sent(shop, b'{"message": "Hi"}'))["messages"][0]["content"] == "Hi"


@pytest.mark.parametrize("query", ["", "?", "?message=", "?message=%20%09%0A", "?massage=Hi", "?system=Hi"])
async def test_a_get_without_a_message_is_told_so_in_the_old_words(shop, query):
    async with scripted_upstream() as claude, shop(claude) as caller, caller.get(PATH + query) as response:
        body = await response.json()
    assert response.status == 400
    assert body["error"] == "Message is required"
    assert next(iter(body)) == "error"
    assert not claude.requests


@pytest.mark.parametrize(
    "body", [b"", b"  ", {}, {"message": ""}, {"message": " \n"}, {"message": None}, {"messages": []}]
)
async def test_a_post_without_a_message_is_told_so_in_the_old_words(shop, body):
    status, answer = await refused(shop, body)
    assert status == 400
    assert answer["error"] == "Message is required"
    assert answer["code"] == "message_required"


# Lengths of a query string.


async def test_a_get_with_16_kib_of_chinese_works_and_is_in_no_file(shop, tmp_path):
    assert len(CHINESE.encode()) == 16 * KIB
    async with scripted_upstream() as claude, shop(claude) as caller:
        target = f"{PATH}?message={quote(CHINESE)}"
        assert len(target) > 48 * KIB
        head = f"GET {target} HTTP/1.1\r\nhost: gateway\r\nx-api-key: {caller.key}\r\nconnection: close\r\n\r\n"
        async with connected(caller.gateway.url, head.encode()) as raw:
            status, _, _ = await raw.answer()
    assert status == 200
    assert json.loads(claude.requests[0].body)["messages"][0]["content"] == CHINESE
    for path in tmp_path.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert "请".encode() not in held, path
            assert quote("请").encode() not in held, path
            assert b"\\u8bf7" not in held, path


async def test_a_message_and_a_system_prompt_of_16_kib_each_fit(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        query = f"?message={quote(CHINESE)}&system={quote(CHINESE)}"
        head = f"GET {PATH}{query} HTTP/1.1\r\nhost: gateway\r\nx-api-key: {caller.key}\r\nconnection: close\r\n\r\n"
        async with connected(caller.gateway.url, head.encode()) as raw:
            status, _, _ = await raw.answer()
    assert status == 200
    assert json.loads(claude.requests[0].body)["system"] == CHINESE


@pytest.mark.parametrize("name", ["message", "system"])
@pytest.mark.parametrize("value", ["x" * (16 * KIB + 1), CHINESE + "x"])
async def test_past_16_kib_decoded_a_query_is_a_414_that_names_the_limit(shop, name, value):
    query = f"?{name}={quote(value)}" + ("" if name == "message" else "&message=Hi")
    async with scripted_upstream() as claude, shop(claude) as caller:
        head = f"GET {PATH}{query} HTTP/1.1\r\nhost: gateway\r\nx-api-key: {caller.key}\r\nconnection: close\r\n\r\n"
        async with connected(caller.gateway.url, head.encode()) as raw:
            status, headers, body = await raw.answer()
    assert status == 414
    assert headers["X-Request-Id"]
    answer = json.loads(body)
    assert str(16 * KIB) in answer["error"]
    assert answer["code"] == "query_too_long"
    assert not claude.requests


@pytest.mark.parametrize("size", [101 * KIB, 300 * KIB])
async def test_a_huge_request_line_is_a_414_that_echoes_and_logs_nothing_of_it(shop, tmp_path, size):
    async with scripted_upstream() as claude, shop(claude) as caller:
        head = (
            f"GET {PATH}?message={'secret' * (size // 6)} HTTP/1.1\r\nhost: gateway\r\nx-api-key: {caller.key}\r\n\r\n"
        )
        async with connected(caller.gateway.url, head.encode()) as raw:
            status, headers, body = await raw.answer()
    assert status == 414
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Request-Id"]
    assert headers["Vary"] == "Origin"
    assert json.loads(body)["code"] == "query_too_long"
    assert b"secret" not in body
    assert b"secret" not in (tmp_path / "log.jsonl").read_bytes()


# Our fields on top.


async def test_a_conversation_goes_on_with_the_message(shop):
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
    ]
    body = await sent(shop, {"messages": turns, "message": "And now?"})
    assert body["messages"] == [*turns, {"role": "user", "content": "And now?"}]
    assert (await sent(shop, {"messages": turns}))["messages"] == turns


async def test_every_field_reaches_claude_under_its_own_name(shop):
    body = await sent(
        shop,
        {
            "message": "Hi",
            "system": "Be brief",
            "model": "claude-opus-4-1",
            "maxTokens": 77,
            "temperature": 0.5,
            "stopSequences": ["END"],
            "stream": True,
        },
    )
    assert body == {
        "messages": [{"role": "user", "content": "Hi"}],
        "system": "Be brief",
        "model": "claude-opus-4-1",
        "max_tokens": 77,
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "stream": True,
    }


async def test_system_and_system_prompt_are_the_same_field(shop):
    assert (await sent(shop, {"message": "Hi", "system": "A", "systemPrompt": "A"}))["system"] == "A"
    status, answer = await refused(shop, {"message": "Hi", "system": "A", "systemPrompt": "B"})
    assert status == 400
    assert "systemPrompt" in answer["error"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"message": "Hi", "maxtokens": 5}, "maxtokens"),
        ({"message": "Hi", "top_k": 5, "max_tokens": 5}, "max_tokens, top_k"),
        ({"message": "Hi", "metadata": {"user": "u"}}, "metadata.user"),
        ({"messages": [{"role": "user", "content": "Hi", "name": "x"}]}, "messages.0.name"),
    ],
)
async def test_unknown_fields_are_a_400_that_names_them(shop, body, named):
    status, answer = await refused(shop, body)
    assert status == 400
    assert answer["error"].startswith(f"Unknown field: {named}.")
    assert answer["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"message": 5}, "message"),
        ({"message": "Hi", "systemPrompt": 5}, "systemPrompt"),
        ({"message": "Hi", "maxTokens": 0}, "maxTokens"),
        ({"message": "Hi", "maxTokens": "5"}, "maxTokens"),
        ({"message": "Hi", "temperature": 1.5}, "temperature"),
        ({"message": "Hi", "stopSequences": "END"}, "stopSequences"),
        ({"message": "Hi", "stream": "no"}, "stream"),
        ({"message": "Hi", "thinking": "yes"}, "thinking"),
        ({"message": "Hi", "model": ""}, "model"),
        ({"message": "Hi", "metadata": {"userId": ""}}, "metadata.userId"),
        ({"messages": [{"role": "system", "content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        (b"[]", "object"),
        (b"{", "JSON"),
        (b'{"message": "\xff"}', "JSON"),
    ],
)
async def test_bad_input_is_a_400_that_says_what_is_wrong_and_where(shop, body, where):
    status, answer = await refused(shop, body)
    assert status == 400
    assert where in answer["error"]
    assert answer["code"] == "invalid_request"


async def test_what_a_caller_sent_is_not_quoted_back(shop):
    _, answer = await refused(shop, {"message": ["a secret prompt"], "temperature": "a secret prompt"})
    assert "secret" not in json.dumps(answer)


async def test_the_operator_may_ignore_system_prompts_of_callers(shop):
    body = await sent(shop, {"message": "Hi", "systemPrompt": "Be evil"}, client_system="ignore", system="Be kind")
    assert body["system"] == "Be kind"
    assert "system" not in await sent(shop, {"message": "Hi", "system": "Be evil"}, client_system="ignore")


async def test_the_operator_may_ignore_system_prompts_in_query_strings_too(shop):
    chat = {"client_system": "ignore", "system": "Be kind"}
    async with (
        scripted_upstream() as claude,
        shop(claude, chat=chat) as caller,
        caller.get(PATH + "?message=Hi&system=Be%20evil") as response,
    ):
        await response.read()
    assert json.loads(claude.requests[0].body)["system"] == "Be kind"


async def test_retired_names_of_models_are_replaced(shop):
    body = await sent(shop, {"message": "Hi", "model": "claude-3-5-sonnet-20241022"})
    assert body["model"] == "claude-sonnet-5-5"
    body = await sent(shop, {"message": "Hi", "model": "old"}, aliases={"old": "claude-haiku-4-5"})
    assert body["model"] == "claude-haiku-4-5"


async def test_a_context_builds_the_system_prompt_by_the_template(shop):
    body = await sent(shop, {"message": "Hi", "context": ["One.", "Two."], "language": "German"})
    assert body["system"].startswith("Answer in German. ")
    assert body["system"].endswith("\n\nOne.\n\nTwo.")


async def test_a_template_places_the_system_prompt_and_takes_no_placeholder_from_callers(shop):
    body = await sent(
        shop,
        {"message": "Hi", "context": "{system} {language}", "system": "Be brief"},
        rag_template="{system} <{context}> {language} {other}",
        default_language="French",
    )
    assert body["system"] == "Be brief <{system} {language}> French {other}"


async def test_a_template_without_a_place_for_the_system_prompt_comes_after_it(shop):
    body = await sent(shop, {"message": "Hi", "context": "C", "system": "Be brief"}, rag_template="Use {context}")
    assert body["system"] == "Be brief\n\nUse C"


async def test_the_end_user_counts_for_limits_per_user(shop):
    plans = {"default": {"per_user": {"requests_per_minute": 1}}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as caller:
        statuses = []
        for user in ("ann", "bob", "ann"):
            async with caller.post(PATH, {"message": "Hi", "metadata": {"userId": user}}) as response:
                statuses.append(response.status)
                body = await response.read()
    assert statuses == [200, 200, 429]
    assert json.loads(body)["limit"] == "user-requests-per-minute"
    assert b"ann" not in claude.requests[0].body


async def test_max_tokens_is_clamped_to_the_plan(shop):
    plans = {"default": {"max_output_tokens": 100}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as caller:
        for body in ({"message": "Hi"}, {"message": "Hi", "maxTokens": 5000}, {"message": "Hi", "maxTokens": 50}):
            async with caller.post(PATH, body) as response:
                await response.read()
    assert [json.loads(request.body)["max_tokens"] for request in claude.requests] == [100, 100, 50]


async def test_a_model_that_the_plan_lacks_is_a_403_that_names_it(shop):
    body = {"message": "Hi", "model": "claude-opus-4-1"}
    status, answer = await refused(shop, body, plans={"default": {"models": ["claude-haiku-*"]}})
    assert status == 403
    assert answer["code"] == "model_not_allowed"
    assert "claude-opus-4-1" in answer["error"]
    assert "claude-haiku-*" in answer["error"]
