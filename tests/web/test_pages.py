"""Pages are whole in themselves, held to a strict policy, and inside the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.gateway import configuration, serving

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "gateway" / "web" / "static"
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


@pytest.mark.parametrize("page", sorted(STATIC.glob("*.html")), ids=lambda page: page.name)
def test_a_page_has_nothing_inline_and_nothing_from_elsewhere(page):
    html = page.read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|(?:src|href)=\"(?!/streaming-demo)", html) == []


@pytest.mark.parametrize("part", sorted(STATIC.iterdir()), ids=lambda part: part.name)
def test_no_file_names_another_host(part):
    assert re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w-]+\.\w", part.read_text(encoding="utf-8")) == []


def test_the_files_are_in_the_wheel(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"gateway/web/static/{part.name}" for part in STATIC.iterdir()} <= set(names)
