"""A pretend Claude: speaks Claude's real wire, paced, with readable answers and with faults on request.

Frontends are developed and load-tested against it without a key; the gateway's own tests use it as their upstream.
Nothing here imports the rest of the gateway but ``core``. Start with :mod:`gateway.simulator.server`.
"""
