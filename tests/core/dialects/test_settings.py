"""What the chat route fills in."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.core.dialects.settings import ChatSettings


def test_the_old_deployments_model_has_an_alias():
    assert ChatSettings().aliases["claude-3-5-sonnet-20241022"] == ChatSettings().model


@pytest.mark.parametrize(
    "wrong", [{"model": ""}, {"max_tokens": 0}, {"client_system": "maybe"}, {"max_token": 5}, {"aliases": {"a": 1}}]
)
def test_a_wrong_value_or_name_is_refused(wrong):
    with pytest.raises(ValidationError):
        ChatSettings(**wrong)
