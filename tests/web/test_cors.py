"""Which browsers may read our answers, and what a preflight is told."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.core.errors import OriginNotAllowed
from gateway.core.origins import Origins
from gateway.web.cors import EXPOSED, EXPOSED_TO_SDKS, cors_headers, is_preflight, preflight

ORIGINS = Origins(["https://app.example"])
ASK = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}


def _request(method: str = "OPTIONS", **headers: str):
    return make_mocked_request(method, "/v1/messages", headers={**ASK, **headers})


def test_only_options_with_the_method_asked_for_is_a_preflight():
    assert is_preflight(_request())
    assert not is_preflight(_request("POST"))
    assert not is_preflight(make_mocked_request("OPTIONS", "/", headers={"Origin": "https://app.example"}))


def test_a_listed_origin_is_told_the_methods_and_the_headers_that_it_asked_for():
    asked = "X-Api-Key, Anthropic-Beta,x-stainless-lang,content-type, , cookie, x-evil"
    answer = preflight(_request(**{"Access-Control-Request-Headers": asked}), ORIGINS, "GET, POST")
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert answer.headers["Access-Control-Allow-Headers"] == "x-api-key, anthropic-beta, x-stainless-lang, content-type"
    assert answer.headers["Access-Control-Max-Age"] == "7200"


@pytest.mark.parametrize("asked", ["", "cookie"])
def test_no_header_is_named_when_none_is_allowed(asked):
    answer = preflight(_request(**{"Access-Control-Request-Headers": asked}), ORIGINS, "POST")
    assert "Access-Control-Allow-Headers" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://app.example.evil.example", ""])
def test_an_unlisted_origin_is_refused(origin):
    with pytest.raises(OriginNotAllowed):
        preflight(_request(Origin=origin), ORIGINS, "POST")


def test_a_preflight_without_an_origin_is_refused():
    request = make_mocked_request("OPTIONS", "/", headers={"Access-Control-Request-Method": "POST"})
    with pytest.raises(OriginNotAllowed):
        preflight(request, ORIGINS, "POST")


@pytest.mark.parametrize("exposed", [EXPOSED, EXPOSED_TO_SDKS])
def test_a_listed_origin_is_named_and_may_read_the_headers_that_matter(exposed):
    assert cors_headers("https://app.example", ORIGINS, exposed) == {
        "Access-Control-Allow-Origin": "https://app.example",
        "Access-Control-Expose-Headers": exposed,
    }
    for name in ("X-Request-Id", "request-id", "Retry-After", "RateLimit", "RateLimit-Policy"):
        assert name in exposed.split(", ")


@pytest.mark.parametrize("origin", [None, "https://evil.example"])
def test_no_other_origin_is_named(origin):
    assert cors_headers(origin, ORIGINS, EXPOSED) == {}
