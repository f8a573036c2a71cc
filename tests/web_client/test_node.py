"""The published client in Node, as a server or a script has it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.support.clients import behind_gateway
from tests.support.node import WEB, run_node

PACE = {"tokens_per_second": 40, "time_to_first_token": 0.05}
PLANS = {"default": {}, "one": {"per_key": {"requests_per_minute": 1}}}


async def test_the_core_works_under_node_without_react(tmp_path, example):
    """Its cases are told apart in Node's own report, which a failure shows."""
    packages = tmp_path / "node_modules"
    for name in ("tokenweir-client", "eventsource-parser"):
        shutil.copytree(example / "node_modules" / name, packages / name)
    shutil.copy(Path(__file__).with_name("client.test.mjs"), tmp_path)
    upstream = {"upstream": {"retries": 0}}
    async with behind_gateway(tmp_path, PACE, plans=PLANS, **upstream) as here:
        gateway = here.caller.gateway
        _, one = gateway.store.create_key("acme", gateway.peppers, plan="one")
        code, report = await run_node(
            "--test", "--test-reporter=spec", "client.test.mjs", directory=tmp_path,
            GATEWAY_URL=here.url, SIMULATOR_URL=here.simulator.url, KEY=here.key, KEY_OF_ONE=one.text,
        )  # fmt: skip
    assert code == 0, report
    assert "skipped 0" in report


async def test_the_code_of_the_readme_compiles(example):
    blocks = re.findall(r"```(tsx?)\n(.*?)```", (WEB / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert {kind for kind, _ in blocks} == {"ts", "tsx"}
    for number, (kind, code) in enumerate(blocks):
        (example / "src" / f"readme{number}.{kind}").write_text(code, encoding="utf-8")
    code, report = await run_node("node_modules/typescript/bin/tsc", directory=example)
    assert code == 0, report
