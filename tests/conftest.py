"""The streams that many tests go through: our own small ones, and the recordings where they are."""

from __future__ import annotations

import os

import pytest

from tests.support.recordings import OWN, RECORDINGS, SHARED, Recording


def pytest_generate_tests(metafunc):
    """Run a test that takes ``recording`` once for each stream."""
    if "recording" in metafunc.fixturenames:
        metafunc.parametrize("recording", _streams(), indirect=True)


@pytest.fixture
def recording(request):
    """Return one recorded stream.

    Tests are skipped only where there is nothing beside the repository to take recordings from, and never in CI.
    """
    if request.param is None:
        if SHARED.exists() or os.environ.get("CI"):
            pytest.fail(f"the recordings are missing: {RECORDINGS}")
        pytest.skip("no ../shared beside the repository: the recordings of Claude's streams are not here")
    return request.param


def _streams():
    own = [pytest.param(Recording(path), id=f"own/{path.stem}") for path in sorted(OWN.glob("*.sse"))]
    recorded = [
        pytest.param(Recording(path), id=f"{path.parent.name}/{path.stem}")
        for path in sorted(RECORDINGS.glob("*/*.sse"))
    ]
    return own + (recorded or [pytest.param(None, id="recordings")])
