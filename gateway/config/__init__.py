"""The configuration: read from file and environment, checked, frozen. Each part declares its own settings."""

from gateway.config.assemble import Config
from gateway.config.errors import ConfigError, Problem
from gateway.config.load import load_config, read_config

__all__ = ["Config", "ConfigError", "Problem", "load_config", "read_config"]
