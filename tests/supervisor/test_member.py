"""What is said of a worker."""

from __future__ import annotations

import pytest

from gateway.supervisor.member import in_words


@pytest.mark.parametrize(("status", "words"), [(0, "status 0"), (3, "status 3"), (-9, "SIGKILL"), (-99, "signal 99")])
def test_how_a_process_ended_is_said_in_words(status, words):
    assert in_words(status) == words
