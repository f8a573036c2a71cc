"""Pages are whole in themselves, held to a strict policy, and inside the wheel."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.gateway import configuration, serving

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "gateway" / "web" / "static"
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
PARTS = {"demo.css": "text/css", "demo.js": "text/javascript", "icon.svg": "image/svg+xml"}


async def test_the_demo_page_and_its_parts_are_served_under_a_strict_policy(tmp_path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1")) as caller:
        for path, kind in {"": "text/html", **{f"/{name}": kind for name, kind in PARTS.items()}}.items():
            async with caller.session.get(f"{caller.gateway.url}/streaming-demo{path}") as response:
                policy = response.headers["Content-Security-Policy"]
                assert (response.status, response.content_type, response.charset) == (200, kind, "utf-8")
            assert policy.startswith("default-src 'none';")
            assert "unsafe" not in policy
            assert "http" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-cache"


async def test_a_page_is_compressed_for_who_can_read_that_and_not_sent_again_to_who_has_it(tmp_path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1")) as caller:
        url, session = f"{caller.gateway.url}/streaming-demo/demo.js", caller.session
        plain = {"Accept-Encoding": "identity"}
        async with session.get(url, headers=plain) as whole:
            body = await whole.read()
        async with session.get(url, headers={"Accept-Encoding": "gzip, br"}, auto_decompress=False) as packed:
            compressed = await packed.read()
        async with session.get(url, headers={**plain, "If-None-Match": whole.headers["ETag"]}) as known:
            nothing = await known.read()
        async with session.get(url, headers={**plain, "If-None-Match": 'W/"older"'}) as other:
            again = await other.read()
    assert "Content-Encoding" not in whole.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed) == body == again
    assert len(compressed) < len(body) / 2
    assert (known.status, nothing, known.headers["ETag"]) == (304, b"", whole.headers["ETag"])
    assert whole.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding, Origin"


@pytest.mark.parametrize("pretend", [True, False])
async def test_the_page_can_ask_whether_claude_is_the_pretend_one(tmp_path, pretend):
    config = configuration(tmp_path, "http://127.0.0.1:1")
    upstreams = tuple(upstream.model_copy(update={"pretend": pretend}) for upstream in config.upstreams)
    async with (
        serving(config.model_copy(update={"upstreams": upstreams})) as caller,
        caller.session.get(f"{caller.gateway.url}/streaming-demo/about.json") as response,
    ):
        about = await response.json()
    assert about["pretend"] is pretend
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"])


@pytest.mark.parametrize("page", [path for path in FILES if path.suffix == ".html"], ids=lambda page: page.name)
def test_a_page_has_nothing_inline_and_nothing_from_elsewhere(page):
    html = page.read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|(?:src|href)=\"(?!/streaming-demo)", html) == []


# Scripts name namespaces, and pages about errors: that nothing is asked of other hosts is seen in test_demo_page.
@pytest.mark.parametrize("part", [path for path in FILES if path.suffix != ".js"], ids=lambda part: part.name)
def test_no_file_names_another_host(part):
    text = re.sub(r"/\*.*?\*/", "", part.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w-]+\.\w", text) == []


def test_the_files_are_in_the_wheel(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert {str(part.relative_to(ROOT)) for part in FILES} <= set(zipfile.ZipFile(wheel).namelist())
