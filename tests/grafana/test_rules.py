"""Prometheus' own tools check the rules, and each alert fires when it should, and it alone."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.grafana.alert_cases import CASES
from tests.support.process import ROOT
from tests.support.prometheus import promtool
from tools.monitoring.alerts import ALERTS
from tools.monitoring.rules import scaled

RULES = sorted((ROOT / "grafana" / "prometheus").glob("*.yaml"))
BASE = {'up{job="tokenweir",instance="a"}': "1x500"}
FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'


def test_they_are_well_formed():
    checked = subprocess.run(
        [promtool(), "check", "rules", "--lint-fatal", *map(str, RULES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "26 rules found" in checked.stdout


def test_each_alert_has_a_case():
    assert {case.alert for case in CASES} == {alert.name for some in ALERTS.values() for alert in some}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_when_it_should_alone_and_not_otherwise(tmp_path, case):
    fires = {**BASE, **case.fires}
    tests = [
        _test(case, fires, [{"labels": f'{{alertname="{case.alert}"}}', "value": 1}]),
        _test(case, fires | case.quiet, []),
    ]
    file = tmp_path / "test.yaml"  # JSON is YAML
    file.write_text(
        json.dumps({"rule_files": [str(path) for path in RULES], "evaluation_interval": "1m", "tests": tests})
    )
    tried = subprocess.run([promtool(), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stdout + tried.stderr


def _test(case, series, wanted):
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": FIRING, "eval_time": f"{case.minutes}m", "exp_samples": wanted}],
    }


@pytest.mark.parametrize(
    ("duration", "scale", "result"), [("5m", 1, "5m"), ("5m", 0.01, "3000ms"), ("3d", 0.001, "259200ms")]
)
def test_windows_are_scaled_for_a_drill(duration, scale, result):
    assert scaled(duration, scale) == result
