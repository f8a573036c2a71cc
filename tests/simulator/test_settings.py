import pytest
from pydantic import ValidationError

from gateway.simulator.settings import SimulatorSettings


def test_the_defaults_are_a_pace_to_read_along():
    settings = SimulatorSettings()
    assert (settings.tokens_per_second, settings.time_to_first_token, settings.chunk_size) == (20.0, 0.26, 0)


def test_every_setting_is_described():
    assert all(field.description for field in SimulatorSettings.model_fields.values())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fault": "nonsense=1"}, "there is no directive 'nonsense'"),
        ({"replay": "/nowhere/x.sse"}, "there is no file /nowhere/x.sse"),
        ({"replay_dir": "/nowhere"}, "there is no directory /nowhere"),
        ({"chunk_size": -2}, "greater than or equal to -1"),
    ],
)
def test_a_wrong_value_says_what_is_wrong(settings, said):
    with pytest.raises(ValidationError, match=said):
        SimulatorSettings.model_validate(settings)


def test_what_exists_is_taken(tmp_path):
    recording = tmp_path / "a.sse"
    recording.write_bytes(b"")
    settings = SimulatorSettings(replay=recording, replay_dir=tmp_path, fault="status=529; count=1")
    assert settings.replay == recording
