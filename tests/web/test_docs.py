"""Who is shown the documentation."""

from __future__ import annotations

import pytest

from gateway.web.docs import shown
from gateway.web.settings import ServerSettings
from tests.support.gateway import configuration, serving

PAGES = ("/openapi.json", "/docs", "/docs/docs.css", "/docs/icon.svg")


@pytest.mark.parametrize(
    ("docs", "listen", "served"),
    [
        ("auto", "127.0.0.1:8080", True),
        ("auto", "[::1]:8080", True),
        ("auto", "0.0.0.0:8080", False),
        ("auto", "gateway.example:8080", False),
        ("on", "0.0.0.0:8080", True),
        ("off", "127.0.0.1:8080", False),
    ],
)
def test_unless_told_otherwise_only_this_machine_is_shown_it(docs, listen, served):
    assert shown(ServerSettings(docs=docs, listen=listen)) is served


async def test_shown_it_is_a_document_and_a_page_under_a_strict_policy(tmp_path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1")) as caller:
        for path in PAGES:
            async with caller.session.get(caller.gateway.url + path) as response:
                assert response.status == 200, path
                assert response.headers["Content-Security-Policy"].startswith("default-src 'none';")


async def test_not_shown_it_is_not_there(tmp_path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1", server={"docs": "off"})) as caller:
        for path in PAGES:
            async with caller.session.get(caller.gateway.url + path) as response:
                assert response.status == 404, path
                assert (await response.json())["code"] == "not_found"


async def test_operators_have_a_document_of_their_own(tmp_path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1", server={"docs": "off"})) as caller:
        async with caller.session.get(caller.gateway.ops_url + "/openapi.json") as response:
            document = await response.json()
        for path in document["paths"]:
            async with caller.session.get(caller.gateway.ops_url + path.format(tenant="acme")) as response:
                assert response.status == 200, path
        async with caller.session.get(caller.gateway.url + "/readyz") as response:
            assert response.status == 404
