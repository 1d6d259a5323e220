"""The page on metrics, the dashboard and the alerts name the metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery import Celery
from prometheus_client import CollectorRegistry

from celery_defer.app.counters import Counters
from celery_defer.app.gauges import Gauges

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/monitoring.md").read_text()
BOARD = json.loads((ROOT / "examples/grafana/celery-defer.json").read_text())
RULES = yaml.safe_load((ROOT / "examples/grafana/alerts.yml").read_text())["groups"][0]["rules"]

_NAME = re.compile(r"celery_defer_\w+")
_SELECTED = re.compile(r"\{([^}]*)\}|\bby \(([^)]*)\)")
_OF_PROMETHEUS = {"job", "le"}


@pytest.fixture
def metrics(app: Celery) -> dict[str, tuple[str, list[str]]]:
    """The type and the labels of each metric, by its name."""
    counters = vars(Counters(app, CollectorRegistry())).values()
    counted = [each for each in counters if hasattr(each, "_labelnames")]
    of_the_store = list(Gauges(app).describe())
    return {
        **{_name(each): (each._type, list(each._labelnames)) for each in counted},
        **{each.name: (each.type, list(each._labelnames)) for each in of_the_store},
    }


def test_the_table_has_each_metric_with_its_type_and_labels(metrics: Any) -> None:
    rows = re.findall(r"^\| `(celery_defer_\w+)` \| (\w+) \| (.*?) ?\| \S", PAGE, re.M)

    documented = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}
    assert documented == metrics


@pytest.mark.parametrize("text", ["dashboard", "alerts"])
def test_each_metric_that_is_asked_for_exists(text: str, metrics: Any) -> None:
    series = {name for each in metrics for name in _series(each, metrics[each][0])}
    asked = set(_NAME.findall("\n".join(_queries(text))))

    assert asked
    assert asked <= series


@pytest.mark.parametrize("text", ["dashboard", "alerts"])
def test_each_label_that_is_asked_for_exists(text: str, metrics: Any) -> None:
    for query in _queries(text):
        own = {label for name in metrics if name in query for label in metrics[name][1]}

        assert _labels(query) <= own | _OF_PROMETHEUS, query


def test_the_dashboard_shows_each_metric(metrics: Any) -> None:
    asked = "\n".join(_queries("dashboard"))

    assert [name for name in metrics if name not in asked] == []


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in BOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def _name(metric: Any) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else str(metric._name)


def _series(name: str, kind: str) -> list[str]:
    return (
        [f"{name}_{part}" for part in ("bucket", "count", "sum")] if kind == "histogram" else [name]
    )


def _queries(text: str) -> Iterator[str]:
    if text == "alerts":
        yield from (rule["expr"] for rule in RULES)
        return
    for panel in BOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def _labels(query: str) -> set[str]:
    """Return the labels by which a query selects or groups."""
    found = set()
    for selected, grouped in _SELECTED.findall(query):
        found |= set(re.findall(r"(\w+)\s*=", selected))
        found |= {label.strip() for label in grouped.split(",") if label.strip()}
    return found
