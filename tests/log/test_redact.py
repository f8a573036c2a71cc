"""What must never be in a line is masked if it got there."""

from __future__ import annotations

import pytest

from gateway.log.redact import plain, redact, suspicious

SECRETS = [
    ("key sk-ant-api03-Ab_c-9 refused", "key sk-ant-*** refused"),
    ("tw_k7Qm_S3cr3t-part_x was sent", "tw_*** was sent"),
    ("Authorization: Bearer abc.def-1", "Authorization: ***"),
    ("authorization: Basic dXNlcjpwYXNz", "authorization: ***"),
    ("bearer   S3cr3t", "bearer   ***"),
    ("x-api-key: S3cr3t", "x-api-key: ***"),
    ("{'x-api-key': 'S3cr3t', 'a': 1}", "{'x-api-key': '***', 'a': 1}"),
    ("((b'X-Api-Key', b'S3cr3t'), 1)", "((b'X-Api-Key', b'***'), 1)"),
    ('{"x-api-key":"S3cr3t"}', '{"x-api-key":"***"}'),
    ("cookie: session=S3cr3t; b=S3cr3t", "cookie: ***"),
    ("postgresql+psycopg://me:S3cr3t@db/x", "postgresql+psycopg://***@db/x"),
    ("redis://:S3cr3t@cache:6379/0", "redis://***@cache:6379/0"),
    ("GET /api/chat/stream?message=S3cr3t%20words&system=x HTTP/1.1", "GET /api/chat/stream?*** HTTP/1.1"),
]


@pytest.mark.parametrize(("text", "masked"), SECRETS)
def test_a_secret_is_masked_and_the_rest_stays(text, masked):
    assert suspicious(text.encode())
    assert redact(text) == masked


@pytest.mark.parametrize(
    "text", ["max_tokens: 8192 is too high", "a two_part name", "is it? yes", "https://docs.example/x"]
)
def test_ordinary_text_stays_as_it_is(text):
    assert redact(text) == text


def test_plain_reaches_into_nested_values_and_keys():
    nested = {"a": ["sk-ant-x1", ("tw_a_b",)], "sk-ant-x2": {"b": "bearer z"}}
    assert plain(nested) == {"a": ["sk-ant-***", ["tw_***"]], "sk-ant-***": {"b": "bearer ***"}}


def test_plain_makes_anything_writable():
    values = [None, True, 1.5, 3, 2**60, "a\ud800b", object(), {1: 2}]
    assert plain(values) == [None, True, 1.5, 3, str(2**60), "a?b", "object", {"1": 2}]
