"""Claude's own API passes through unchanged, and nothing that is written oddly slips past a plan."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.core.call import Restrictions, Summary
from gateway.core.claude import Fold
from gateway.core.dialects.messages import MessagesEncoder, error_body, forwarded_headers, parse_messages
from gateway.core.errors import (
    Forbidden,
    InvalidRequest,
    ModelNotAllowed,
    Overloaded,
    ThreadsNotOffered,
    UpstreamCredential,
    UpstreamMalformed,
)
from gateway.core.pricing import PriceBook
from gateway.core.sse import EventSplitter

NOW = 1_764_000_000_000
PRICES = PriceBook()
OPEN = Restrictions()
HAIKU = Restrictions(models=(("claude-haiku-*",),), max_output_tokens=100, account_resources=False)
ROUTE = "/v1/messages"
PADDING = "x" * 70_000


def parse(body, allowed=OPEN, target=ROUTE, headers=None):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_messages(target, raw, headers or {}, allowed, PRICES)


def request(**fields):
    return {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], **fields}


# The stream.


@pytest.mark.parametrize("size", [7, 1000, None])
def test_the_bytes_of_a_stream_are_never_changed(recording, size):
    fold, splitter, raw = Fold(), EventSplitter(1 << 24), recording.raw
    encoder = MessagesEncoder(fold)
    size = size or len(raw)
    sent = b""
    for start in range(0, len(raw), size):
        chunk, events = splitter.feed(raw[start : start + size])
        sent += encoder.feed(chunk, events, NOW)
    assert sent + splitter.flush() == raw
    assert fold.deltas >= recording.deltas - 1


def test_a_delta_that_comes_alone_passes_as_it_came():
    fold = Fold()
    encoder = MessagesEncoder(fold)
    event = b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n'
    assert encoder.single(event, NOW) == event
    assert encoder.single(event[:-1], NOW) == encoder.single(event * 2, NOW) == b""
    assert fold.deltas == 1
    assert (encoder.merges, encoder.merged) == (False, 0)


CREDENTIAL = (
    b'event: error\ndata: {"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'
)


def test_an_error_about_our_own_credential_is_not_passed_on():
    fold = Fold()
    events = [b'event: message_start\ndata: {"type":"message_start"}', CREDENTIAL, b"event: x\ndata: y"]
    raw = events[0] + b"\n\n" + events[1] + b"\r\n\r\n" + events[2] + b"\n\n"
    assert MessagesEncoder(fold).feed(raw, events, NOW) == events[0] + b"\n\n"
    assert isinstance(fold.error, UpstreamCredential)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize(
    "broken", [b'event: error\ndata: {"type":"error"}', b"event: message_delta\ndata: {"], ids=["error", "no JSON"]
)
def test_what_follows_an_error_in_one_read_is_not_passed_on(broken, end):
    """In the next read it would not be either."""
    events = [b'event: ping\ndata: {"type":"ping"}', broken, b"", b"event: x\ndata: y"]
    raw = b"".join(event + end for event in events)
    fold = Fold()
    assert MessagesEncoder(fold).feed(raw, events, NOW) == raw[: raw.index(broken)] + broken + end
    assert fold.error is not None


def test_other_errors_are():
    encoder = MessagesEncoder(Fold())
    event = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert encoder.feed(event + b"\n\n", [event], NOW) == event + b"\n\n"
    assert encoder.forwards_errors is True


def test_the_end_is_claudes_own():
    assert MessagesEncoder(Fold()).done(Summary("r", None, None, None, None, 5, None, None), NOW) == b""


ERROR_EVENT = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Too busy."},'
    b'"request_id":"req_gw1"}\n\n'
)


def test_our_errors_are_events_in_claudes_shape():
    assert MessagesEncoder(Fold()).error(Overloaded("Too busy."), "req_gw1", NOW) == ERROR_EVENT


def test_errors_before_a_stream_have_claudes_shape():
    assert error_body(UpstreamMalformed("Not understood."), "req_gw1") == {
        "type": "error",
        "error": {"type": "api_error", "message": "Not understood."},
        "request_id": "req_gw1",
    }


def test_a_thread_is_refused_in_claudes_own_code():
    assert error_body(ThreadsNotOffered("No."), "req_gw1")["error"]["details"] == {
        "error_code": "thread_unsupported_request"
    }


# Headers.


def test_only_claudes_own_headers_go_upstream():
    headers = {
        "Anthropic-Version": "2099-01-01",
        "anthropic-beta": "files-1",
        "anthropic-something-new": "1",
        "Anthropic-Dangerous-Direct-Browser-Access": "true",
        "anthropic-organization-id": "org_theirs",
        "anthropic-workspace-id": "wrkspc_theirs",
        "anthropic-user-profile-id": "uprof_theirs",
        "Authorization": "Bearer tw_secret",
        "x-api-key": "tw_secret",
        "Cookie": "a=b",
        "Connection": "close",
        "x-stainless-lang": "js",
        "accept-encoding": "gzip",
    }
    assert forwarded_headers(headers, OPEN) == {
        "anthropic-version": "2099-01-01",
        "anthropic-beta": "files-1",
        "anthropic-something-new": "1",
    }


def test_without_a_version_it_is_the_one_there_is():
    assert forwarded_headers({}, OPEN) == {"anthropic-version": "2023-06-01"}


def test_betas_on_several_lines_are_one_list_and_all_are_checked():
    headers = CIMultiDict([("Anthropic-Beta", "a-1"), ("anthropic-beta", "a-2, b-1"), ("anthropic-version", "x")])
    assert forwarded_headers(headers, OPEN)["anthropic-beta"] == "a-1,a-2, b-1"
    assert forwarded_headers(headers, Restrictions(betas=(("a-*", "b-*"),)))["anthropic-beta"] == "a-1,a-2, b-1"
    with pytest.raises(Forbidden, match="'b-1'"):
        forwarded_headers(headers, Restrictions(betas=(("a-*",),)))


def test_no_beta_needs_no_permission():
    assert "anthropic-beta" not in forwarded_headers({}, Restrictions(betas=((),)))


def test_a_header_that_comes_twice_says_one_thing_or_is_refused():
    """Claude might go by the other one."""
    headers = CIMultiDict([("Anthropic-Version", "2023-06-01"), ("anthropic-version", "2023-06-01")])
    assert forwarded_headers(headers, OPEN) == {"anthropic-version": "2023-06-01"}
    headers.add("anthropic-version", "2099-01-01")
    with pytest.raises(InvalidRequest, match="anthropic-version: sent twice"):
        forwarded_headers(headers, OPEN)


# The request.


def test_a_request_goes_upstream_as_it_came():
    raw = b' {"model" : "claude-haiku-4-5",\n "max_tokens":100, "messages":[], "new": {"b":1e2,"a":[null]}, "stream":true} '
    call = parse(raw, HAIKU, "/v1/messages?beta=true", {"anthropic-beta": "a-1", "cookie": "a=b"})
    assert (call.method, call.target, call.body) == ("POST", "/v1/messages?beta=true", raw)
    assert call.headers == {"anthropic-version": "2023-06-01", "anthropic-beta": "a-1"}
    assert (call.model, call.stream, call.max_tokens, call.end_user) == ("claude-haiku-4-5", True, 100, None)


@pytest.mark.parametrize(
    ("stream", "streams"),
    [({}, False), ({"stream": None}, False), ({"stream": False}, False), ({"stream": True}, True)],
)
def test_a_stream_is_asked_for(stream, streams):
    assert parse(request(**stream)).stream is streams


@pytest.mark.parametrize(
    ("metadata", "user"),
    [
        ({"user_id": "u1"}, "u1"),
        ({"user_id": ""}, None),
        ({"user_id": 7}, None),
        ({}, None),
        ("u1", None),
        (None, None),
    ],
)
def test_the_end_user_is_the_one_of_the_metadata(metadata, user):
    assert parse(request(metadata=metadata)).end_user == user


@pytest.mark.parametrize("target", ["/v1/messages/count_tokens", "/v1/messages/count_tokens?beta=true"])
def test_counting_tokens_needs_no_max_tokens_and_never_streams(target):
    call = parse({"model": "claude-haiku-4-5", "messages": [], "stream": True}, HAIKU, target)
    assert (call.stream, call.max_tokens) == (False, None)
    assert parse(request(max_tokens=5000), HAIKU, target).max_tokens is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b'{"model": "\xff"}', "not valid JSON"),
        (b'{"model": "\\ud83d"}', "not valid JSON"),
        (b'\xef\xbb\xbf{"model": "m"}', "not valid JSON"),
        ('{"model": "m"}'.encode("utf-16"), "not valid JSON"),
        (b'{"model": NaN}', "not valid JSON"),
        (b'{"max_tokens": -Infinity}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not valid JSON"),
        (b'{"a":' * 30_000 + b"1" + b"}" * 30_000, "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"model"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        ({}, r"^model: Field required$"),
        (request(model=None), r"^model: Field required$"),
        (request(model=""), r"^model: Input should be a valid string$"),
        (request(model=["claude-haiku-4-5"]), r"^model: Input should be a valid string$"),
        ({"model": "m", "messages": []}, r"^max_tokens: Field required$"),
        (request(max_tokens=None), r"^max_tokens: Input should be a valid integer$"),
        (request(max_tokens="100"), r"^max_tokens: Input should be a valid integer$"),
        (request(max_tokens=100.0), r"^max_tokens: Input should be a valid integer$"),
        (request(max_tokens=True), r"^max_tokens: Input should be a valid integer$"),
        (request(stream="true"), r"^stream: Input should be a valid boolean$"),
        (request(stream=1), r"^stream: Input should be a valid boolean$"),
    ],
)
@pytest.mark.parametrize("padding", ["", PADDING])
def test_what_we_must_understand_is_checked_and_named(body, words, padding):
    """Large bodies go through another parser, with the same result."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    if padding:
        raw = raw[:-1] + padding.encode() if raw[:1] in b"[" else raw + b" " * len(padding)
    with pytest.raises(InvalidRequest, match=words if raw[-1:] != b"x" else "."):
        parse(raw)


@pytest.mark.parametrize("padding", ["", PADDING])
@pytest.mark.parametrize("max_tokens", [101, 2**64, 10**400])
def test_more_tokens_than_the_plan_allows_are_refused(max_tokens, padding):
    with pytest.raises(InvalidRequest, match=r"^(max_tokens: |The request body is not valid JSON)"):
        parse(request(max_tokens=max_tokens, system=padding), HAIKU)


def test_messages_are_claudes_to_judge():
    assert parse(request(messages="x"), HAIKU).max_tokens == 100
    assert parse(request(messages=None, unknown=[{}]), HAIKU).max_tokens == 100


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "claude-opus-5-5"},
        {"fallbacks": [{"model": "claude-opus-5-5"}]},
        {"fallbacks": "default"},
        {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5-5"}]},
    ],
)
def test_models_that_are_not_in_the_plan_are_refused(fields):
    assert parse(request(**fields)).max_tokens == 100
    with pytest.raises(ModelNotAllowed):
        parse(request(**fields), HAIKU)


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"container": "c_1"}, Forbidden),
        ({"thread": {"type": "create"}}, ThreadsNotOffered),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"file_id": "f_1"}}]}]}, Forbidden),
    ],
)
def test_the_operators_account_is_not_the_callers(fields, refused):
    assert parse(request(**fields)).max_tokens == 100
    with pytest.raises(refused):
        parse(request(**fields), HAIKU)


# One body, two readings.

CHEAP, DEAR = '"claude-haiku-4-5"', '"claude-opus-5-5"'
REST = '"max_tokens":100,"messages":[]'


@pytest.mark.parametrize(
    "body",
    [
        f'{{"model":{DEAR},"model":{CHEAP},{REST}}}',
        f'{{"model":{DEAR},"model" : {CHEAP},{REST}}}',
        f'{{"mod\\u0065l":{DEAR},"model":{CHEAP},{REST}}}',
        f'{{"model":{DEAR},"mod\\u0065l":{CHEAP},{REST}}}',
        f'{{"\\u006D\\u006F\\u0064\\u0065\\u006C":{DEAR},"model":{CHEAP},{REST}}}',
        f'{{"model":{DEAR},"\\u006dodel":{CHEAP},{REST}}}',
        f'{{"model":{CHEAP},"max_tokens":9999,{REST}}}',
        f'{{"model":{CHEAP},"max\\u005ftokens":9999,{REST}}}',
        f'{{"model":{CHEAP},"max\\u005Ftokens":9999,{REST}}}',
        f'{{"model":{CHEAP},"stream":true,"stream":false,{REST}}}',
        f'{{"model":{CHEAP},"container":"c_1","container":null,{REST}}}',
        f'{{"model":{CHEAP},"metadata":{{"user_id":"u1"}},"metadata":{{}},{REST}}}',
        f'{{"model":{CHEAP},"metadata":{{"user_id":"u1","user_id":"u2"}},{REST}}}',
        f'{{"model":{CHEAP},"metadata":{{"user\\u005fid":"u1","user_id":"u2"}},{REST}}}',
        f'{{"model":{CHEAP},"fallbacks":[{{"model":{DEAR},"model":{CHEAP}}}],{REST}}}',
        f'{{"model":{CHEAP},"tools":[{{"model":{DEAR}}}],"tools":[],{REST}}}',
        f'{{"model":{CHEAP},"messages":[{{"content":[{{"source":{{"file_id":"f"}}}}],"content":"Hi"}}],"max_tokens":1}}',
        f'{{"model":{CHEAP},"messages":[{{"source":{{"file\\u005fid":"f"}},"source":1}}],"max_tokens":1}}',
        f'{{"model":{CHEAP},"thread":{{"type":"create"}},"thread":null,{REST}}}',
    ],
)
@pytest.mark.parametrize("padding", ["", PADDING])
def test_a_key_that_is_given_twice_is_refused(body, padding):
    with pytest.raises(InvalidRequest, match=": the key is given twice in one object"):
        parse(f'{{"padding":"{padding}",{body[1:]}'.encode(), HAIKU)


@pytest.mark.parametrize("key", ["mod\\u0065l", "\\u006dodel", "m\\u006Fdel"])
def test_an_escaped_key_alone_is_read_as_it_is_meant(key):
    body = f'{{"{key}":{DEAR},{REST}}}'.encode()
    assert parse(body).model == "claude-opus-5-5"
    with pytest.raises(ModelNotAllowed):
        parse(body, HAIKU)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"name": name, "input_schema": {"properties": {"model": {}, "stream": {}}}} for name in "ab"]},
        {"messages": [{"role": "user", "content": '{"model":"a","model":"b"}, \\u006dodel'}]},
        {"messages": [{"role": "user", "content": "\x7f\x00 é <b>&"}]},
        {"messages": [{"content": [{"type": "tool_use", "input": {"file_id": "mine"}}]}]},
        {"system": [{"type": "text", "text": "model"}], "metadata": {"model": "model"}},
    ],
)
def test_names_that_come_twice_in_different_places_are_no_reason(fields):
    assert parse(request(**fields), HAIKU).model == "claude-haiku-4-5"


def deep(depth):
    """Return a body that is read a second time for the keys that it may hold twice."""
    return f'{{"model":{CHEAP},{REST},"file_id":1,"deep":{"[" * depth}{"]" * depth}}}'.encode()


@pytest.mark.parametrize("depth", [190, 200])
def test_what_can_be_read_once_can_be_read_twice(depth):
    assert parse(deep(depth), HAIKU).body == deep(depth)


@pytest.mark.parametrize("depth", [210, 900, 1000, 1100])
def test_depth_is_refused_at_the_first_reading(depth):
    with pytest.raises(InvalidRequest, match="recursion limit exceeded"):
        parse(deep(depth), HAIKU)


KEYS = st.sampled_from(["model", "mod\\u0065l", "\\u006dodel", "max_tokens", "max\\u005ftokens", "a", "\\u0061"])
VALUES = {"model": [CHEAP, DEAR], "max_tokens": ["1", "9999"], "a": ["1"]}


def _pair(key):
    return st.sampled_from(VALUES[json.loads(f'"{key}"')]).map(lambda value: (key, value))


@given(st.lists(KEYS.flatmap(_pair), max_size=5))
def test_what_passes_a_plan_passes_it_in_every_reading(pairs):
    """First value or last value of a key: there is no body that is within the plan in one reading only."""
    body = "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
    try:
        parse(body.encode(), HAIKU)
    except (InvalidRequest, ModelNotAllowed):
        return
    for reading in (pairs, pairs[::-1]):
        read = {json.loads(f'"{key}"'): json.loads(value) for key, value in reading}
        assert read["model"].startswith("claude-haiku-")
        assert read["max_tokens"] <= 100


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("behind", [b"", b"event: hush\ndata: {}\n\n"])
def test_an_error_is_forwarded_without_what_is_to_be_hidden_and_what_is_before_it_as_it_came(line_end, behind):
    before = b'event: new\ndata: {"type":"new","hush":1}\n\n'.replace(b"\n", line_end)
    error = b'event: error\ndata: {"type":"error","error":{"message":"hush"}}\n\n'.replace(b"\n", line_end)
    raw, events = EventSplitter(1 << 24).feed(before + error + behind)
    fold = Fold(hide=lambda data: data.replace(b"hush", b"***"))
    assert MessagesEncoder(fold).feed(raw, events, NOW) == before + error.replace(b"hush", b"***")
