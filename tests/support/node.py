"""Node, and the packages that tests of JavaScript clients need; what is missing is said, and is a failure in CI."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "tests" / "sdk_typescript"
WEB = ROOT / "web"
_OLDEST = 20
_PATIENCE = 120.0


def require_node() -> str:
    """Return the path of a Node that is new enough, or skip; in CI fail."""
    found = shutil.which("node")
    version = "" if found is None else _run(found, "--version").stdout
    major = version.strip().removeprefix("v").partition(".")[0]
    if found is None or not major.isdigit() or int(major) < _OLDEST:
        missing(f"Node.js {_OLDEST} or newer is needed, here is {version.strip() or 'none'}")
    return found


def require_packages(project: Path = SDK) -> None:
    """Install the locked packages of a directory unless they are there."""
    if (project / "node_modules" / ".package-lock.json").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        missing(f"npm is needed to install the packages of {project.name}")
    installed = _run(npm, "ci", "--prefix", str(project))
    if installed.returncode:
        missing(f"npm ci failed: {installed.stderr.strip()[-500:]}")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def missing(reason: str) -> NoReturn:
    """Skip; in CI fail, so that nothing goes untested unseen."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


async def run_node(*arguments: str, directory: Path = SDK, **variables: str) -> tuple[int, str]:
    """Run Node in a directory, where its packages are; return its exit status and all it printed."""
    # HTTP_PROXY and the like are not for a gateway on this machine.
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    node = await asyncio.create_subprocess_exec(
        "node", *arguments, cwd=directory, env={**inherited, **variables},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_PATIENCE):
            out, _ = await node.communicate()
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    assert node.returncode is not None
    return node.returncode, out.decode()
