"""The configurations that the bench and the soak give the gateway are ones that it takes."""

import tomllib

import pytest

from gateway.config import Config
from tools.bench import servers
from tools.soak import world

GIVEN = {"directory": "/there", "port": 1, "ops": 2, "upstream": 3, "claude": 3, "workers": 1}


@pytest.mark.parametrize("template", [servers.GATEWAY, world.CONFIG])
def test_the_configuration_is_allowed(template):
    Config.model_validate(tomllib.loads(template.format(**GIVEN)))
