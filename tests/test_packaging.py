"""The wheel has everything that runs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    target = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return set(zipfile.ZipFile(next(target.glob("*.whl"))).namelist())


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "gateway").rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} == {n for n in wheel if n.startswith("gateway/")}


def test_pages_data_and_the_mark_of_types_are_in_the_wheel(wheel):
    assert {
        "gateway/py.typed",
        "gateway/simulator/phrasebook.toml",
        "gateway/web/static/demo/index.html",
        "gateway/web/static/demo/demo.js",
    } <= wheel


def test_nothing_but_the_package_is_in_the_wheel(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"gateway", "tokenweir"}


def test_the_image_is_made_of_files_that_exist_and_are_let_into_the_build():
    """What the Dockerfile copies out of the source passes .dockerignore, which lets in only what it names."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    assert set(copied) == let_in
    for name in copied:
        assert (ROOT / name).exists(), name
