"""What the process says: JSON lines on standard output, one per request; see docs/logging.md."""

from __future__ import annotations

from gateway.log.settings import LogSettings
from gateway.log.setup import Log, configure_logging

__all__ = ["Log", "LogSettings", "configure_logging"]
