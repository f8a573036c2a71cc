"""Who is asking."""

from __future__ import annotations

import pytest

from gateway.core.principal import Principal


@pytest.mark.parametrize(("key_id", "anonymous"), [(None, True), ("k1", False)])
def test_a_caller_without_a_key_is_anonymous(key_id, anonymous):
    assert Principal("acme", key_id, "default", None, "192.0.2.1").anonymous is anonymous
