"""The three dashboards, as Grafana's JSON."""

from __future__ import annotations

import json
from typing import NamedTuple

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from tools.monitoring import service, slo, tenants
from tools.monitoring.kit import PROMETHEUS, Panel
from tools.monitoring.objectives import JOB, RUNBOOK

Rows = dict[str, list[Panel]]


class Dashboard(NamedTuple):
    """One of them.

    Attributes:
        name: Of its file and its address.
        title: Of the page.
        description: What it answers.
        since: How far back it looks at first.
        rows: Panels by the headings above them.
        variables: What may be chosen, beside the data source and the job.
    """

    name: str
    title: str
    description: str
    since: str
    rows: Rows
    variables: tuple[str, ...] = ()


DASHBOARDS = (
    Dashboard(
        "service", "Tokenweir: Service",
        "Do users wait, are answers whole, and whose fault is it if not.", "now-1h", service.ROWS, ("model", "dialect"),
    ),
    Dashboard(
        "tenants", "Tokenweir: Tenants",
        "Who uses and spends what, what is left to them, and who is refused.", "now-24h", tenants.ROWS,
        ("ledger", "tenant", "model"),
    ),
    Dashboard(
        "slo", "Tokenweir: SLO",
        "What was promised, what is left of the budgets of 30 days, and how fast they burn.", "now-24h", slo.ROWS,
    ),
)  # fmt: skip


def _source(name: str, label: str, kind: str, uid: str) -> build.DatasourceVariable:
    chosen = model.VariableOption(selected=True, text=label, value=uid)
    return build.DatasourceVariable(name).label(label).type(kind).current(chosen)


def _values(name: str, label: str, series: str) -> build.QueryVariable:
    """Return a variable of a label's values, all of them at first."""
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    variable = build.QueryVariable(name).label(label).datasource(PROMETHEUS).query(f"label_values({series}, {name})")
    variable = variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    return variable.multi(True).include_all(True).all_value(".*").current(everything)


def _job() -> build.QueryVariable:
    chosen = model.VariableOption(selected=True, text=JOB, value=JOB)
    variable = build.QueryVariable("job").label("Job").datasource(PROMETHEUS)
    variable = variable.query("label_values(tokenweir_build_info, job)").current(chosen)
    return variable.refresh(model.VariableRefresh.ON_DASHBOARD_LOAD)


def _variable(name: str) -> build.DatasourceVariable | build.QueryVariable:
    series = {
        "tenant": 'tokenweir_tenant_requests_total{job="$job"}',
        "model": 'tokenweir_tokens_total{job="$job"}',
        "dialect": 'tokenweir_overhead_seconds_count{job="$job"}',
    }
    if name == "ledger":
        return _source("ledger", "Ledger", "grafana-postgresql-datasource", "ledger")
    return _values(name, name.capitalize(), series[name])


def _links() -> list[build.DashboardLink]:
    others = build.DashboardLink("Tokenweir").type(model.DashboardLinkType.DASHBOARDS).tags(["tokenweir"])
    runbook = build.DashboardLink("Runbook").type(model.DashboardLinkType.LINK).url(RUNBOOK).target_blank(True)
    return [others.include_vars(True).keep_time(True), runbook]


def _alerts() -> build.AnnotationQuery:
    """Return a mark for each alert that fires."""
    annotation = build.AnnotationQuery().name("Alerts").datasource(PROMETHEUS).enable(True).icon_color("red")
    return annotation.expr('ALERTS{alertstate="firing",alertname=~"Tokenweir.*"}')


def built(one: Dashboard) -> model.Dashboard:
    """Return it as the SDK has it."""
    page = build.Dashboard(one.title).uid(f"tokenweir-{one.name}").description(one.description)
    page = page.tags(["tokenweir"]).time(one.since, "now").refresh("30s").timezone("browser").readonly()
    page = page.tooltip(model.DashboardCursorSync.CROSSHAIR).links(_links()).annotation(_alerts())
    variables = [_source("datasource", "Prometheus", "prometheus", "prometheus"), _job()]
    page = page.variables([*variables, *(_variable(name) for name in one.variables)])
    for heading, panels in one.rows.items():
        page = page.with_row(build.Row(heading))
        for panel in panels:
            page = page.with_panel(panel)
    found = page.build()
    for number, panel in enumerate(found.panels or (), 1):
        panel.id_val = number
    return found


def files() -> dict[str, str]:
    """Return the texts of all files."""
    texts = {}
    for one in DASHBOARDS:
        texts[f"{one.name}.json"] = json.dumps(built(one), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
    return texts
