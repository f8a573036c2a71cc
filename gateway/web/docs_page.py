"""The OpenAPI document as a page to read: plain HTML, no script, nothing from elsewhere.

Whatever comes from the document is escaped. Prose is the little Markdown that the document uses: paragraphs, lists,
``code`` and **bold**.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any

Node = dict[str, Any]

_METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
_LIMITS = {
    "minimum": "≥ ",
    "maximum": "≤ ",
    "minLength": "length ≥ ",
    "maxLength": "length ≤ ",
    "minItems": "items ≥ ",
    "maxItems": "items ≤ ",
    "pattern": "matches ",
    "default": "default ",
}
_MARKS = ((re.compile(r"`([^`]+)`"), r"<code>\1</code>"), (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"))


def page(document: Node) -> str:
    """Return the page."""
    info = document["info"]
    operations = list(_operations(document))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(info["title"])} API</title>
<link rel="icon" href="/docs/icon.svg">
<link rel="stylesheet" href="/docs/docs.css">
</head>
<body>
<nav aria-label="Contents">
<p class="name"><a href="#top">{escape(info["title"])}</a> <small>{escape(info["version"])}</small></p>
{_contents(document, operations)}
</nav>
<main id="top">
<h1>{escape(info["title"])} API</h1>
{prose(info["description"])}
<p><a href="/openapi.json">openapi.json</a>: the same for programs (OpenAPI {escape(document["openapi"])}).</p>
<h2 id="authentication">Authentication</h2>
{_table("Scheme", "Sent as", "", rows=_schemes(document))}
{"".join(_tag(tag, operations, document) for tag in document["tags"])}
<h2 id="schemas">Schemas</h2>
{"".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())}
</main>
</body>
</html>
"""


def prose(text: str) -> str:
    """Return a text with paragraphs, lists, code and bold."""
    return "".join(_block(block) for block in text.strip().split("\n\n"))


def _block(block: str) -> str:
    if not block.startswith("- "):
        return f"<p>{_inline(block)}</p>"
    return f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in re.split(r'(?m)^- ', block)[1:])}</ul>"


def _inline(text: str) -> str:
    text = escape(text, quote=False)
    for mark, html in _MARKS:
        text = mark.sub(html, text)
    return text


def _operations(document: Node) -> Iterator[tuple[str, str, Node]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method, path, item[method]


def _contents(document: Node, operations: list[tuple[str, str, Node]]) -> str:
    lists = []
    for tag in document["tags"]:
        found = [entry for entry in operations if tag["name"] in entry[2]["tags"]]
        links = "".join(
            f'<li><a href="#{operation["operationId"]}">{_badge(method)} {escape(path)}</a></li>'
            for method, path, operation in found
        )
        lists.append(f"<p>{escape(tag['name'])}</p><ul>{links}</ul>")
    names = "".join(f'<li><a href="#{name}">{name}</a></li>' for name in document["components"]["schemas"])
    return f"{''.join(lists)}<details><summary>Schemas</summary><ul>{names}</ul></details>"


def _badge(method: str) -> str:
    return f'<span class="method {method}">{method.upper()}</span>'


def _schemes(document: Node) -> Iterator[tuple[str, str, str]]:
    for name, scheme in document["components"]["securitySchemes"].items():
        sent = "Authorization: Bearer …" if scheme["type"] == "http" else f"{scheme['name']}: …"
        yield f'<span id="{name}">{name}</span>', f"<code>{sent}</code>", _inline(scheme["description"])


def _tag(tag: Node, operations: list[tuple[str, str, Node]], document: Node) -> str:
    found = [entry for entry in operations if tag["name"] in entry[2]["tags"]]
    return (
        f"<h2>{escape(tag['name'])}</h2>{prose(tag['description'])}"
        f"{''.join(_operation(*entry, document) for entry in found)}"
    )


def _operation(method: str, path: str, operation: Node, document: Node) -> str:
    parts = [
        f'<section id="{operation["operationId"]}">',
        f"<h3>{escape(operation['summary'])}</h3>",
        f'<p class="route">{_badge(method)} <code>{escape(path)}</code></p>',
        prose(operation.get("description", "")) if "description" in operation else "",
        _who(operation),
        _parameters(operation),
        _request(method, path, operation),
        _responses(operation, document),
        "</section>",
    ]
    return "".join(parts)


def _who(operation: Node) -> str:
    schemes = [name for entry in operation["security"] for name in entry]
    links = " or ".join(f'<a href="#{name}">{name}</a>' for name in schemes)
    return f"<p>Authentication: {links or 'none'}.</p>"


def _parameters(operation: Node) -> str:
    parameters = operation.get("parameters", ())
    if not parameters:
        return ""
    rows = (
        (
            f"<code>{escape(parameter['name'])}</code> {_needed(required=parameter.get('required', False))}",
            escape(parameter["in"]),
            f"{_kind(parameter['schema'])} {_limits(parameter['schema'])}",
            _inline(parameter.get("description", "")),
        )
        for parameter in parameters
    )
    return "<h4>Parameters</h4>" + _table("Name", "In", "Type", "", rows=rows)


def _request(method: str, path: str, operation: Node) -> str:
    body = operation.get("requestBody")
    if body is None:
        return ""
    ((kind, content),) = body["content"].items()
    example = json.dumps(content["example"], ensure_ascii=False)
    curl = (
        f"curl -N http://127.0.0.1:8080{path} -X {method.upper()} \\\n"
        f"  -H 'Authorization: Bearer tw_…' -H 'Content-Type: {kind}' \\\n  -d '{example}'"
    )
    return f"<h4>Body</h4><p>{_kind(content['schema'])} as <code>{kind}</code></p><pre>{escape(curl)}</pre>"


def _responses(operation: Node, document: Node) -> str:
    rows = []
    for status, given in operation["responses"].items():
        response = _resolved(given, document)
        contents = "<br>".join(
            f"{_kind(_described(content['schema']))} <small>{escape(kind)}</small>"
            for kind, content in response.get("content", {}).items()
        )
        headers = ", ".join(f"<code>{escape(name)}</code>" for name in response.get("headers", ()))
        what = f"{_inline(response['description'])}{_examples(response)}"
        rows.append((f"<strong>{status}</strong>", what, contents, f"<small>{headers}</small>"))
    return "<h4>Answers</h4>" + _table("Status", "", "Body", "Headers", rows=rows)


def _examples(response: Node) -> str:
    found = [
        example["value"]
        for content in response.get("content", {}).values()
        for example in content.get("examples", {}).values()
    ]
    if not found:
        return ""
    lines = "\n".join(json.dumps(value, ensure_ascii=False, indent=1) for value in found)
    return f"<details><summary>Example</summary><pre>{escape(lines)}</pre></details>"


def _resolved(node: Node, document: Node) -> Node:
    if "$ref" not in node:
        return node
    found: Any = document
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _described(schema: Node) -> Node:
    """Return what the events of a stream hold, if it is one."""
    data = schema.get("properties", {}).get("data", {})
    return dict(data.get("contentSchema", schema))


def _schema(name: str, schema: Node) -> str:
    body = _table("Field", "Type", "", rows=_fields(schema)) if "properties" in schema else f"<p>{_kind(schema)}</p>"
    closed = "<p>No other fields are taken.</p>" if schema.get("additionalProperties") is False else ""
    what = prose(schema.get("description", ""))
    return f'<section id="{name}"><h3>{name}</h3>{what}{body}{_either(schema)}{closed}</section>'


def _either(schema: Node) -> str:
    needed = [name for branch in schema.get("anyOf", ()) for name in branch.get("required", ())]
    return f"<p>Needed: {' or '.join(f'<code>{escape(name)}</code>' for name in needed)}.</p>" if needed else ""


def _fields(schema: Node) -> Iterator[tuple[str, str, str]]:
    for name, field in schema["properties"].items():
        required = name in schema.get("required", ())
        yield (
            f"<code>{escape(name)}</code> {_needed(required=required)}",
            f"{_kind(field)} {_limits(field)}",
            _inline(field.get("description", "")),
        )


def _needed(*, required: bool) -> str:
    return '<span class="needed">required</span>' if required else ""


def _kind(schema: Node) -> str:
    """Return the type in words, with links to what has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(f"{_kind(branch)}{_limits(branch)}" for branch in schema[word])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else "list"
    return " or ".join(kind) if isinstance(kind, list) else escape(kind)


def _limits(schema: Node) -> str:
    said = (
        f"{words}{escape(json.dumps(schema[name]) if name != 'pattern' else schema[name])}"
        for name, words in _LIMITS.items()
        if schema.get(name) not in (None, [])
    )
    text = ", ".join(said)
    return f" <small>{text}</small>" if text else ""


def _table(*titles: str, rows: Any) -> str:
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
