"""Builders of dashboard variables."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from boards.panels import LOKI, PROMETHEUS

Variable = Builder[models.VariableModel]

ALL = models.VariableOption(selected=True, text="All", value="$__all")

TITLES = {
    "org_id": "Organisation",
    "player_id": "Player",
    "env": "Environment",
    "player_name": "Player software",
    "device_category": "Device",
    "network_country": "Country",
    "content_type": "Content",
    "video_id": "Video",
}
"""The selectable labels of views, in filtering order."""


def source() -> Variable:
    """The Prometheus data source."""
    return dashboard.DatasourceVariable("datasource").label("Metrics").type("prometheus")


def log_source() -> Variable:
    """The Loki data source."""
    return dashboard.DatasourceVariable("logs").label("Logs").type("loki")


def view_labels(*, without: tuple[str, ...] = ()) -> list[Variable]:
    """One variable per label, each filtered by the previous ones."""
    names = [name for name in TITLES if name not in without]
    return [
        metric_label(name, TITLES[name], "openqoe_views_started_total", tuple(names[:place]))
        for place, name in enumerate(names)
    ]


def metric_label(
    name: str, title: str, metric: str, narrowed: tuple[str, ...] = (), label: str = ""
) -> Variable:
    """The values of a label of a metric. All also matches series without the label."""
    inside = ",".join(f'{other}=~"${other}"' for other in narrowed)
    selector = f"{metric}{{{inside}}}" if inside else metric
    return _label(
        name,
        title,
        PROMETHEUS,
        {
            "qryType": 1,
            "query": f"label_values({selector},{label or name})",
            "refId": "PrometheusVariableQueryEditor-VariableQuery",
        },
    ).all_value(".*")


def log_label(name: str, title: str, *, all_value: str = ".*") -> Variable:
    """The values of a stream label."""
    query: dict[str, object] = {
        "label": name,
        "refId": "LokiVariableQueryEditor-VariableQuery",
        "stream": "",
        "type": 1,
    }
    return _label(name, title, LOKI, query).all_value(all_value)


def _label(
    name: str, title: str, source: models.DataSourceRef, query: dict[str, object]
) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(title)
        .datasource(source)
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(ALL)
    )


def text(name: str, title: str, default: str) -> Variable:
    """A text field."""
    return (
        dashboard.TextBoxVariable(name)
        .label(title)
        .default_value(default)
        .current(models.VariableOption(selected=True, text=default, value=default))
    )


def further_filters() -> Variable:
    """Filters on other labels, such as os_family, browser_family, app_version."""
    return dashboard.AdHocVariable("filters").label("Further filters").datasource(PROMETHEUS)


def way_of_health() -> Variable:
    """The source of the worker's health metrics: remote write (no job) or scraping (a job)."""
    written = models.VariableOption(selected=True, text="remote write", value="()")
    scraped = models.VariableOption(selected=False, text="scraping /metrics", value=".+")
    return (
        dashboard.CustomVariable("job")
        .label("Health by")
        .description(
            "Health metrics can arrive both ways; only one is shown, to avoid counting them twice."
        )
        .values("remote write : (), scraping /metrics : .+")
        .options([written, scraped])
        .current(written)
    )
