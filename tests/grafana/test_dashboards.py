"""What the dashboards say and ask for exists: sections of the runbook, metrics, labels; and every metric is asked for."""

from __future__ import annotations

import json
import re

import pytest

from tests.metrics.test_docs import DOCUMENTED
from tests.support.process import ROOT
from tools.monitoring.alerts import ALERTS
from tools.monitoring.recording import GROUPS

DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
RECORDS = {record.name: record.expr for _, records in GROUPS.values() for record in records}
EXPRESSIONS = [
    *(target["expr"] for parameter in PANELS for target in parameter.values[0]["targets"] if "expr" in target),
    *(alert.expr for alerts in ALERTS.values() for alert in alerts),
    *RECORDS.values(),
]
SECTIONS = {
    re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
    for heading in re.findall(r"^## (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
}
# Labels that Prometheus gives, or that come of a histogram or a recording rule.
ALWAYS = {"job", "instance", "le"}
# Documented, and on no dashboard, for a reason.
UNUSED = {
    "tokenweir_quota_overshoot_usd_total": "the runbook asks for it once the alert on overshoots says that there is one"
}


def metrics_of(expression):
    """Return the metrics and the labels that are chosen by, as (name, labels)."""
    for name, labels in re.findall(
        r"\b((?:tokenweir|process)_[a-z0-9_]+)(?:\{([^}]*)\})?", re.sub(r"\bjob\w*:[\w:]+", "", expression)
    ):
        yield name, set(re.findall(r"(\w+)\s*(?:=|!|~)", labels))


def family(name):
    return name if name in DOCUMENTED else re.sub(r"_(bucket|count|sum)$", "", name)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_means_in_which_unit_and_what_to_do(panel):
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]
    (link,) = panel["links"]
    assert link["url"].partition("#")[2] in SECTIONS
    for target in panel["targets"]:
        assert target.get("legendFormat") or target.get("rawSql")


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=list(DASHBOARDS))
def test_a_dashboard_has_its_variables_and_no_panel_over_another(dashboard):
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"]))) - {
        "__rate_interval",
        "__range",
        "__interval",
    }
    assert {name for name in used if not name.startswith("__")} <= names
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_variables_that_operators_choose_by_are_there():
    wanted = {"datasource", "job", "tenant", "model", "dialect"}
    assert {variable["name"] for one in DASHBOARDS.values() for variable in one["templating"]["list"]} >= wanted


@pytest.mark.parametrize("alert", [alert for some in ALERTS.values() for alert in some], ids=lambda alert: alert.name)
def test_an_alert_leads_to_a_section_of_the_runbook(alert):
    assert alert.section in SECTIONS


@pytest.mark.parametrize("expression", sorted(set(EXPRESSIONS)))
def test_metrics_and_labels_that_are_asked_for_exist(expression):
    for name, labels in metrics_of(expression):
        if name.startswith("tokenweir_") and not name.endswith("_info"):
            assert family(name) in DOCUMENTED, name
            assert labels <= ALWAYS | set(DOCUMENTED[family(name)][1]), name
    for record in re.findall(r"\bjob\w*:[\w:]+", expression):
        assert record in RECORDS


def test_every_metric_is_asked_for_or_it_is_said_why_not():
    asked = {family(name) for expression in EXPRESSIONS for name, _ in metrics_of(expression)}
    documented = {name for name in DOCUMENTED if name.startswith("tokenweir_")}
    assert sorted(documented - asked - {"tokenweir_build_info"}) == sorted(UNUSED)
