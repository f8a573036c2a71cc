"""The client's own tests, in Node: they are beside it, in ``web/tests``."""

from __future__ import annotations

from tests.support.node import WEB, require_node, require_packages, run_node


async def test_the_clients_own_tests_pass():
    require_node()
    require_packages(WEB)
    code, report = await run_node("node_modules/vitest/vitest.mjs", "run", "--maxWorkers=2", directory=WEB)
    assert code == 0, report
