"""What ``/api/chat/stream`` takes, and the call to Claude that it becomes."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from multidict import MultiDict

from gateway.core.call import Restrictions
from gateway.core.dialects.chat_request import parse_body, parse_query
from gateway.core.dialects.settings import ChatSettings
from gateway.core.errors import Forbidden, InvalidRequest, MessageRequired, ModelNotAllowed
from gateway.core.pricing import PriceBook

SETTINGS = ChatSettings(model="claude-sonnet-5-5", max_tokens=1000, aliases={"old": "claude-haiku-4-5"})
PRICES = PriceBook()
OPEN = Restrictions()
USER = {"role": "user", "content": "Hi"}


def parse(body, allowed=OPEN, **settings):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_body(raw, SETTINGS.model_copy(update=settings), allowed, PRICES)


def sent(body, allowed=OPEN, **settings):
    """Return the body that Claude is sent."""
    return json.loads(parse(body, allowed, **settings).body)


# The frontends' own forms.


def test_a_message_is_all_that_is_needed():
    call = parse({"message": "Hi"})
    assert (call.method, call.target, call.headers) == ("POST", "/v1/messages", {"anthropic-version": "2023-06-01"})
    assert (call.model, call.stream, call.max_tokens) == ("claude-sonnet-5-5", True, 1000)
    assert (call.end_user, call.thinking) == (None, False)
    assert json.loads(call.body) == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 1000,
        "messages": [USER],
        "stream": True,
    }


def test_the_old_get_is_the_same():
    query = MultiDict({"message": "Hi", "system": "Be brief.", "model": "claude-opus-5-5", "utm_source": "mail"})
    assert json.loads(parse_query(query, SETTINGS, OPEN, PRICES).body) == sent(
        {"message": "Hi", "systemPrompt": "Be brief."}
    )


@pytest.mark.parametrize("query", [{}, {"message": ""}, {"message": " \n"}, {"system": "x"}, {"Message": "Hi"}])
def test_a_get_without_a_message_is_told_so(query):
    with pytest.raises(MessageRequired):
        parse_query(MultiDict(query), SETTINGS, OPEN, PRICES)


def test_a_get_with_bytes_that_are_no_text_is_told_so():
    with pytest.raises(InvalidRequest, match="not valid UTF-8"):
        parse_query(MultiDict({"message": "\udcff"}), SETTINGS, OPEN, PRICES)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        {},
        {"message": ""},
        {"message": "  "},
        {"message": None},
        {"messages": []},
        {"systemPrompt": "x"},
        {"message": "", "messages": []},
    ],
)
def test_a_post_without_a_message_is_told_so(body):
    with pytest.raises(MessageRequired, match=r"^Message is required$"):
        parse(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b'{"message": "\xff"}', "not valid JSON"),
        (b'{"message": "\\ud83d"}', "not valid JSON"),
        (b'{"message": "Hi", "temperature": NaN}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a":' * 100_000, "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"Hi"', "must be a JSON object"),
        ({"message": 7}, "^message: "),
        ({"message": ["Hi"]}, "^message: "),
        ({"messages": "x"}, "^messages: "),
        ({"messages": None}, "^messages: "),
        ({"messages": ["Hi"]}, r"^messages\.0: "),
        ({"messages": [{"role": "system", "content": "x"}]}, r"^messages\.0\.role: .*'user' or 'assistant'"),
        ({"messages": [USER, {"role": "user"}]}, r"^messages\.1\.content: Field required"),
        ({"messages": [{"role": "user", "content": 7}]}, r"^messages\.0\.content: "),
        ({"messages": [{"role": "user", "content": ["Hi"]}]}, r"^messages\.0\.content\.0: "),
        ({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}, r"^messages\.0\.content\.0\.type: "),
        ({"message": "Hi", "systemPrompt": 7}, "^systemPrompt: "),
        ({"message": "Hi", "model": ""}, "^model: "),
        ({"message": "Hi", "model": "m" * 201}, "^model: "),
        ({"message": "Hi", "model": ["m"]}, "^model: "),
        ({"message": "Hi", "maxTokens": 0}, "^maxTokens: "),
        ({"message": "Hi", "maxTokens": True}, "^maxTokens: "),
        ({"message": "Hi", "maxTokens": "9"}, "^maxTokens: "),
        ({"message": "Hi", "maxTokens": 9.0}, "^maxTokens: "),
        ({"message": "Hi", "maxTokens": 10**30}, "^maxTokens: "),
        ({"message": "Hi", "maxTokens": 2**40}, "^maxTokens: "),
        (b'{"message": "Hi", "maxTokens": 1e400}', "^(maxTokens: |The body is not valid JSON)"),
        ({"message": "Hi", "temperature": 1.1}, "^temperature: "),
        ({"message": "Hi", "temperature": -0.1}, "^temperature: "),
        ({"message": "Hi", "temperature": True}, "^temperature: "),
        ({"message": "Hi", "temperature": "1"}, "^temperature: "),
        ({"message": "Hi", "stopSequences": "END"}, "^stopSequences: "),
        ({"message": "Hi", "stopSequences": [7]}, r"^stopSequences\.0: "),
        ({"message": "Hi", "context": 7}, "^context: "),
        ({"message": "Hi", "context": ["a", 7]}, r"^context\.1: "),
        ({"message": "Hi", "language": "x" * 101}, "^language: "),
        ({"message": "Hi", "metadata": "u1"}, "^metadata: "),
        ({"message": "Hi", "metadata": {"userId": 7}}, r"^metadata\.userId: "),
        ({"message": "Hi", "metadata": {"userId": ""}}, r"^metadata\.userId: "),
        ({"message": "Hi", "thinking": "yes"}, "^thinking: "),
        ({"message": "Hi", "thinking": 1}, "^thinking: "),
        ({"message": "Hi", "thinking": {"type": "sometimes"}}, "^thinking: "),
        ({"message": "Hi", "thinking": {"budget_tokens": 2000}}, "^thinking: "),
        ({"message": "Hi", "stream": "true"}, "^stream: "),
        ({"message": "Hi", "stream": 1}, "^stream: "),
        ({"message": "Hi", "stream": None}, "^stream: "),
    ],
)
def test_what_is_wrong_is_named(body, words):
    with pytest.raises(InvalidRequest, match=words):
        parse(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"message": "Hi", "max_tokens": 9, "b": 1, "stream": "?"},
            r"^Unknown field: b, max_tokens\. Allowed: message, ",
        ),
        ({"message": "Hi", "metadata": {"user_id": "u1"}}, r"^Unknown field: metadata\.user_id\.$"),
        ({"messages": [USER | {"name": "x"}]}, r"^Unknown field: messages\.0\.name\.$"),
    ],
)
def test_unknown_fields_are_named_before_anything_else(body, words):
    with pytest.raises(InvalidRequest, match=words):
        parse(body)


# Ours on top.


def test_a_conversation_with_or_without_a_new_message():
    blocks = [{"type": "text", "text": "Look:"}, {"type": "image", "source": {"type": "base64", "data": "aGk="}}]
    turns = [USER, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": blocks}]
    assert sent({"messages": turns})["messages"] == turns
    assert sent({"messages": turns[:2], "message": "Why?"})["messages"] == [
        *turns[:2],
        {"role": "user", "content": "Why?"},
    ]
    assert sent({"messages": turns[:1], "message": " "})["messages"] == turns[:1]


def test_everything_has_claudes_name_in_the_end():
    call = parse(
        {
            "message": "Hi",
            "model": "claude-opus-5-5",
            "maxTokens": 77,
            "temperature": 0,
            "stopSequences": ["END", "STOP"],
            "metadata": {"userId": "u1"},
            "stream": False,
        }
    )
    assert json.loads(call.body) == {
        "model": "claude-opus-5-5",
        "max_tokens": 77,
        "messages": [USER],
        "stream": False,
        "temperature": 0,
        "stop_sequences": ["END", "STOP"],
    }
    assert (call.model, call.stream, call.max_tokens, call.end_user) == ("claude-opus-5-5", False, 77, "u1")


def test_nothing_is_sent_for_what_is_empty():
    empty = {"stopSequences": [], "metadata": {}, "thinking": False, "context": [], "temperature": None, "model": None}
    assert sent({"message": "Hi", **empty}) == sent({"message": "Hi"})


@pytest.mark.parametrize(
    ("thinking", "sent_on", "shown"),
    [
        (True, {"type": "adaptive"}, True),
        (False, None, False),
        (None, None, False),
        ({"type": "adaptive", "new": [1]}, {"type": "adaptive", "new": [1]}, True),
        ({"type": "enabled", "budget_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}, True),
        ({"type": "disabled"}, {"type": "disabled"}, False),
    ],
)
def test_thinking_is_opt_in(thinking, sent_on, shown):
    call = parse({"message": "Hi", "maxTokens": 4000, "thinking": thinking})
    assert json.loads(call.body).get("thinking") == sent_on
    assert call.thinking is shown


def nested(depth):
    return b"[" * depth + b"]" * depth


def test_blocks_may_be_nested_deeply():
    body = b'{"messages":[{"role":"user","content":[{"type":"document","x":%b}]}]}'
    assert parse(body % nested(200)).body


@pytest.mark.parametrize("depth", [300, 500, 1000])
@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"user","content":[{"type":"document","x":%b}]}]}',
        b'{"message":"Hi","thinking":{"type":"adaptive","x":%b}}',
    ],
)
def test_nesting_that_could_not_be_written_again_is_refused_with_a_reason(body, depth):
    with pytest.raises(InvalidRequest, match="Recursion limit"):
        parse(body % nested(depth))


# Models and limits.


def test_an_alias_answers_for_a_retired_model():
    assert parse({"message": "Hi", "model": "old"}).model == "claude-haiku-4-5"
    assert parse({"message": "Hi"}, model="old").model == "claude-haiku-4-5"


def test_the_plan_is_asked_about_the_model_that_answers():
    haiku = Restrictions(models=(("claude-haiku-*",),))
    assert parse({"message": "Hi", "model": "old"}, haiku).model == "claude-haiku-4-5"
    for body in ({"message": "Hi"}, {"message": "Hi", "model": "claude-haiku"}):
        with pytest.raises(ModelNotAllowed):
            parse(body, haiku)
    with pytest.raises(ModelNotAllowed):
        parse_query(MultiDict({"message": "Hi"}), SETTINGS, haiku, PRICES)


@pytest.mark.parametrize(
    ("asked", "cap", "max_tokens"),
    [(None, None, 1000), (None, 300, 300), (500, 300, 300), (200, 300, 200), (5000, None, 5000)],
)
def test_the_plans_most_output_tokens_clamp(asked, cap, max_tokens):
    call = parse({"message": "Hi", "maxTokens": asked}, Restrictions(max_output_tokens=cap))
    assert call.max_tokens == json.loads(call.body)["max_tokens"] == max_tokens


def test_files_of_the_operators_account_need_the_plans_word():
    block = {"type": "document", "source": {"type": "file", "file_id": "f_1"}}
    body = {"messages": [{"role": "user", "content": [block]}]}
    assert sent(body)["messages"] == body["messages"]
    with pytest.raises(Forbidden, match=r"^file_id: "):
        parse(body, Restrictions(account_resources=False))


# The system prompt.


@pytest.mark.parametrize(
    ("brought", "configured", "client_system", "system"),
    [
        ({}, None, "allow", None),
        ({}, "Ours.", "allow", "Ours."),
        ({"systemPrompt": "Theirs."}, "Ours.", "allow", "Theirs."),
        ({"system": "Theirs."}, "Ours.", "allow", "Theirs."),
        ({"system": "Theirs.", "systemPrompt": "Theirs."}, None, "allow", "Theirs."),
        ({"system": "", "systemPrompt": "Theirs."}, None, "allow", "Theirs."),
        ({"system": "", "systemPrompt": None}, "Ours.", "allow", "Ours."),
        ({"system": "Theirs."}, "Ours.", "ignore", "Ours."),
        ({"system": "Theirs."}, None, "ignore", None),
    ],
)
def test_whose_system_prompt_it_is(brought, configured, client_system, system):
    body = sent({"message": "Hi", **brought}, system=configured, client_system=client_system)
    assert body.get("system") == system


def test_two_different_system_prompts_are_an_error():
    with pytest.raises(InvalidRequest, match=r"^system and systemPrompt"):
        parse({"message": "Hi", "system": "a", "systemPrompt": "b"})


@pytest.mark.parametrize(
    ("brought", "settings", "system"),
    [
        ({"context": "Open 9 to 5."}, {}, "Use Open 9 to 5. in the same language."),
        ({"context": ["One.", "Two."], "language": "Dutch"}, {}, "Use One.\n\nTwo. in Dutch."),
        ({"language": "Dutch"}, {}, None),
        ({"context": "", "language": "Dutch"}, {}, None),
        ({"context": "c"}, {"system": "Ours."}, "Ours.\n\nUse c in the same language."),
        ({"context": "c", "system": "Theirs."}, {"system": "Ours."}, "Theirs.\n\nUse c in the same language."),
        ({"context": "c", "system": "Theirs."}, {"client_system": "ignore"}, "Use c in the same language."),
        ({"context": "c"}, {"rag_template": "{system}|{context}"}, "|c"),
        ({"context": "c"}, {"rag_template": "{system}|{context}", "system": "Ours."}, "Ours.|c"),
        (
            {"context": "c"},
            {"rag_template": 'Answer as {"a": 1} {x} {} {0} {context}'},
            'Answer as {"a": 1} {x} {} {0} c',
        ),
        (
            {"context": "{language}{system}{0}{"},
            {"system": "S"},
            "S\n\nUse {language}{system}{0}{ in the same language.",
        ),
        ({"context": "c", "language": "{context}"}, {}, "Use c in {context}."),
        ({"context": r"\1 \g<0>"}, {}, r"Use \1 \g<0> in the same language."),
    ],
)
def test_the_template_is_filled_in_one_pass(brought, settings, system):
    defaults = {"rag_template": "Use {context} in {language}.", "default_language": "the same language"}
    assert sent({"message": "Hi", **brought}, **(defaults | settings)).get("system") == system


def test_a_request_keeps_no_more_memory_than_its_bytes_take():
    """It lives as long as its stream, and what orjson returns keeps the 4 KiB that it was written into."""
    parsed = [parse({"message": "Hi"}) for _ in range(10)]
    tracemalloc.start()
    try:
        parsed += [parse({"message": "Hi"}) for _ in range(200)]
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(parsed[0].body) < 500
    assert kept / 200 < 4096
