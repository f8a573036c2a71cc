"""The streams that many tests go through: our own small ones, and the recordings where they are."""

from __future__ import annotations

import gc

import pytest
import trustme
from hypothesis import settings

from tests.support.postgresql import cluster
from tests.support.recordings import miss, own, recorded

# How long an example takes says how busy the machine is. Everything else stays as Hypothesis has it for this place.
settings.register_profile("untimed", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish():
    """Have the garbage collector leave the tests alone: there are many, and they stay."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc):
    """Run a test that takes ``recording`` once for each stream."""
    if "recording" in metafunc.fixturenames:
        metafunc.parametrize("recording", _streams(), indirect=True)


@pytest.fixture
def recording(request):
    """Return one recorded stream."""
    if request.param is None:
        miss()
    return request.param


def _streams():
    by_hand = [pytest.param(stream, id=f"own/{stream.path.stem}") for stream in own()]
    real = [pytest.param(stream, id=f"{stream.path.parent.name}/{stream.path.stem}") for stream in recorded()]
    return by_hand + (real or [pytest.param(None, id="recordings")])


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, tmp_path):
    """The authority's certificate, in a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server for all tests of this process that want a database on one."""
    with cluster() as server:
        yield server
