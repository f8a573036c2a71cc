"""The client as it is published: built from a copy of ``web/``, packed, and installed from the tarball."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.support.node import WEB, require_node, require_packages

_NOT_SOURCE = shutil.ignore_patterns("node_modules", "dist", "*.tgz")


def npm(directory, *arguments, **variables):
    """Run npm in a directory; return what it printed last."""
    run = subprocess.run(
        ["npm", *arguments], cwd=directory, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.strip().rpartition("\n")[2]


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """The example application with its packages; beside its package.json lies the client's tarball."""
    require_node()
    require_packages(WEB)
    copy = tmp_path_factory.mktemp("client") / "web"
    shutil.copytree(WEB, copy, ignore=_NOT_SOURCE)
    (copy / "node_modules").symlink_to(WEB / "node_modules")
    application = copy / "examples" / "vite-app"
    tarball = npm(copy, "pack", "--silent", "--pack-destination", str(application))
    (application / tarball).rename(application / "tokenweir-client.tgz")
    npm(application, "ci", "--silent", "--prefer-offline")
    return application
