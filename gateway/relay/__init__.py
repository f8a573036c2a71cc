"""The relay: Claude's bytes pushed to one client."""

from gateway.relay.sides import RelayLimits
from gateway.relay.stream import HEARTBEAT, Relay
from gateway.relay.timing import Timing

__all__ = ["HEARTBEAT", "Relay", "RelayLimits", "Timing"]
