"""Claude's TypeScript SDK under Node: starts the gateway that ``sdk.test.mjs`` talks to, with a key for each plan."""

from __future__ import annotations

from tests.support.clients import behind_gateway
from tests.support.node import run_node

PLANS = {
    "default": {},
    "one": {"requests_per_minute": 1},
    "alone": {"concurrent_streams": 1},
    "small": {"models": ["claude-haiku-*"]},
}


async def test_the_typescript_sdk_works_under_node(tmp_path, node_packages):
    """Its cases are told apart in Node's own report, which a failure shows."""
    async with behind_gateway(tmp_path, plans=PLANS) as here:
        gateway = here.caller.gateway
        keys = {plan: gateway.store.create_key("acme", gateway.peppers, plan=plan)[1].text for plan in PLANS}
        code, report = await run_node(
            "--test", "--test-reporter=spec", "sdk.test.mjs",
            GATEWAY_URL=here.url, SIMULATOR_URL=here.simulator.url, KEY=here.key,
            KEY_OF_ONE=keys["one"], KEY_ALONE=keys["alone"], KEY_SMALL=keys["small"],
        )  # fmt: skip
    assert code == 0, report
    assert "skipped 0" in report
