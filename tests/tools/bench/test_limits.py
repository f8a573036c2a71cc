"""The bench of limits: each part is measured, on real stores."""

from __future__ import annotations

from tests.support.redis import SERVER
from tools.bench import limits

OWN = {"limits in memory", "the ledger", "limits in memory and the ledger"}
SHARED = {"limits in Redis", "limits in Redis and the ledger"}


async def test_every_part_is_measured():
    found = await limits.measured(rate=100, seconds=0.1)
    assert set(found) == (OWN | SHARED if SERVER else OWN)
