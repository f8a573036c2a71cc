"""The reference page says what the document says, and nothing in the document can break out of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from gateway.web.docs_page import page, prose
from gateway.web.openapi import public_document

DOCUMENT = public_document()
PAGE = page(DOCUMENT)
VOID = {"meta", "link", "br"}


class Outline(HTMLParser):
    """Collects ids, links and text; fails when an end does not fit its start."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.add(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


@pytest.fixture(scope="module")
def outline():
    parsed = Outline()
    parsed.feed(PAGE)
    parsed.close()
    assert parsed.open == []
    return parsed


def test_every_route_status_parameter_and_field_is_there(outline):
    for path, item in DOCUMENT["paths"].items():
        assert path in outline.words
        for operation in item.values():
            assert operation["operationId"] in outline.ids
            for parameter in operation.get("parameters", ()):
                assert parameter["name"] in outline.words
            for status in operation["responses"]:
                assert f"<strong>{status}</strong>" in PAGE
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert name in outline.ids
        for field in schema.get("properties", ()):
            assert field in outline.words


def test_links_lead_to_something_and_never_elsewhere(outline):
    assert len(set(outline.ids)) == len(outline.ids)
    inner = {link.removeprefix("#") for link in outline.links if link.startswith("#")}
    assert inner <= set(outline.ids)
    assert {link for link in outline.links if not link.startswith("#")} == {
        "/docs/icon.svg",
        "/docs/docs.css",
        "/openapi.json",
    }


def test_there_is_no_script_and_nothing_inline(outline):
    assert not outline.tags & {"script", "style", "iframe", "form", "img"}
    assert re.findall(r"\s(?:style|on\w+)=", PAGE) == []


def test_what_the_document_says_is_escaped():
    evil = "<script>alert(1)</script>"
    document = public_document()
    document["info"]["description"] = evil
    operation = document["paths"]["/api/chat/stream"]["get"]
    operation["summary"] = operation["description"] = evil
    operation["parameters"][0]["description"] = evil
    document["components"]["schemas"]["TextFrame"]["properties"]["token"]["description"] = evil
    document["components"]["schemas"]["TextFrame"]["properties"]["type"]["const"] = evil
    assert "<script" not in page(document)


def test_prose_knows_paragraphs_lists_code_and_bold():
    assert prose("One `a<b`.\n\n- **x** y\n  z\n- w") == (
        "<p>One <code>a&lt;b</code>.</p><ul><li><strong>x</strong> y\n  z\n</li><li>w</li></ul>"
    )
