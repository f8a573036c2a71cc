"""Panels, as all dashboards have them: with a unit, a legend, a description, and the runbook's section.

What is not in Grafana's SDK, the query of its PostgreSQL data source, is here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from tools.monitoring.objectives import RUNBOOK

PROMETHEUS = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
LEDGER = model.DataSourceRef(type_val="grafana-postgresql-datasource", uid="${ledger}")
JOB = 'job="$job"'

Panel = Builder[model.Panel]


class About(NamedTuple):
    """What a panel says of itself.

    Attributes:
        title: In a few words.
        unit: Grafana's name of it.
        description: What it means and what to do.
        section: The section of docs/runbook.md.
    """

    title: str
    unit: str
    description: str
    section: str


class Sql(Dataquery):
    """A query of the ledger."""

    def __init__(self, text: str, kind: str) -> None:
        self._text = text
        self._kind = kind

    def to_json(self) -> dict[str, object]:
        """Return it as Grafana keeps it."""
        return {
            "refId": "A",
            "datasource": LEDGER,
            "format": self._kind,
            "rawQuery": True,
            "editorMode": "code",
            "rawSql": self._text,
        }


class _Ledger(Builder[Dataquery]):
    def __init__(self, text: str, kind: str) -> None:
        self._query = Sql(text, kind)

    def build(self) -> Dataquery:
        return self._query


def query(expr: str, legend: str = "", *, exemplar: bool = False) -> prometheus.Dataquery:
    """Return a question to Prometheus, over the dashboard's time."""
    return prometheus.Dataquery().expr(expr).legend_format(legend or "__auto").range().exemplar(exemplar)


def now(expr: str, legend: str = "") -> prometheus.Dataquery:
    """Return a question about the present."""
    return prometheus.Dataquery().expr(expr).legend_format(legend or "__auto").instant()


def _marks(*marks: tuple[float, str]) -> build.ThresholdsConfig:
    steps = [
        model.Threshold(value=None, color="green"),
        *(model.Threshold(value=at, color=color) for at, color in marks),
    ]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _described(panel: Any, about: About, width: int, height: int) -> Any:
    link = build.DashboardLink("Runbook").url(f"{RUNBOOK}#{about.section}").type(model.DashboardLinkType.LINK)
    panel = panel.title(about.title).description(about.description).links([link.target_blank(True)])
    return panel.unit(about.unit).span(width).height(height)


def _asked(panel: Any, about: About, queries: Sequence[prometheus.Dataquery], width: int, height: int) -> Any:
    panel = _described(panel, about, width, height).datasource(PROMETHEUS)
    for letter, each in zip("ABCDEFGH", queries, strict=False):
        panel = panel.with_target(each.ref_id(letter))
    return panel


def lines(
    about: About,
    *queries: prometheus.Dataquery,
    width: int = 8,
    stacked: bool = False,
    log: bool = False,
    top: float | None = None,
) -> Panel:
    """Return lines over time."""
    panel = _asked(timeseries.Panel(), about, queries, width, 8)
    legend = common.VizLegendOptions().display_mode(shown.LegendDisplayMode.TABLE).show_legend(True)
    legend = legend.placement(shown.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"])
    tooltip = common.VizTooltipOptions().mode(shown.TooltipDisplayMode.MULTI).sort(shown.SortOrder.DESCENDING)
    panel = panel.legend(legend).tooltip(tooltip).line_width(1).fill_opacity(10).show_points(shown.VisibilityMode.NEVER)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(shown.StackingMode.NORMAL)).fill_opacity(40)
    if log:
        scale = common.ScaleDistributionConfig().type(shown.ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(scale)
    else:
        panel = panel.min(0)
    return panel if top is None else panel.max(top)  # type: ignore[no-any-return]


def number(about: About, asked: prometheus.Dataquery, *marks: tuple[float, str], width: int = 4) -> Panel:
    """Return one number, with a colour from each mark on."""
    reduced = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel = _asked(stat.Panel(), about, [asked], width, 4).reduce_options(reduced).thresholds(_marks(*marks))
    return panel.graph_mode(shown.BigValueGraphMode.AREA).color_mode(shown.BigValueColorMode.VALUE)  # type: ignore[no-any-return]


def heat(about: About, asked: prometheus.Dataquery, *, width: int = 8) -> Panel:
    """Return a heat map of a histogram's buckets."""
    panel = _asked(heatmap.Panel(), about, [asked.format(PromQueryFormat.HEATMAP).legend_format("{{le}}")], width, 8)
    colors = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    axis = heatmap.YAxisConfig().unit(about.unit)
    return panel.color(colors).y_axis(axis).show_legend().cell_gap(1)  # type: ignore[no-any-return]


def states(about: About, asked: prometheus.Dataquery, names: dict[str, tuple[str, str]], *, width: int = 8) -> Panel:
    """Return what state something was in, by its number; each has a name and a colour."""
    options = {value: model.ValueMappingResult(text=text, color=color) for value, (text, color) in names.items()}
    return _asked(statetimeline.Panel(), about, [asked], width, 8).mappings([model.ValueMap(options=options)])  # type: ignore[no-any-return]


def bars(
    about: About, asked: prometheus.Dataquery, *marks: tuple[float, str], width: int = 8, most: float | None = None
) -> Panel:
    """Return a bar for each series, as it is now."""
    reduced = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel = _asked(bargauge.Panel(), about, [asked], width, 8).reduce_options(reduced).thresholds(_marks(*marks))
    panel = panel.orientation(shown.VizOrientation.HORIZONTAL).display_mode(shown.BarGaugeDisplayMode.BASIC).min(0)
    return panel if most is None else panel.max(most)  # type: ignore[no-any-return]


def rows(about: About, text: str, *, width: int = 12, height: int = 10, units: dict[str, str] | None = None) -> Panel:
    """Return a table from the ledger; columns in another unit than the panel's are named."""
    panel = _described(table.Panel(), about, width, height).datasource(LEDGER).with_target(_Ledger(text, "table"))
    for column, unit in (units or {}).items():
        panel = panel.override_by_name(column, [model.DynamicConfigValue(id_val="unit", value=unit)])
    return panel.filterable(True)  # type: ignore[no-any-return]


def days(about: About, text: str, *, width: int = 12) -> Panel:
    """Return stacked bars, one for each day, from the ledger."""
    panel = (
        _described(timeseries.Panel(), about, width, 10).datasource(LEDGER).with_target(_Ledger(text, "time_series"))
    )
    panel = panel.draw_style(shown.GraphDrawStyle.BARS).fill_opacity(60).min(0)
    return panel.stacking(common.StackingConfig().mode(shown.StackingMode.NORMAL))  # type: ignore[no-any-return]
