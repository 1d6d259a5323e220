"""What ``check --live`` says of a running system."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from celery_defer.store import Details, MemoryStore
from celery_defer.views.live import Worker, look, of_workers, values_of
from tests.support.processes import ROOT

NOW = 1_000.0
GOOD = {"store": "defer_store_url = 'redis://…'", "looked_at": NOW - 1, "now": NOW}


class Described(MemoryStore):
    """A store that says of itself what a test says."""

    about = Details("Redis 7.4.0", "append-only file", "noeviction")

    def details(self) -> Details:
        return self.about


@pytest.fixture
def store(app: Celery) -> Described:
    app._celery_defer.store = store = Described()
    return store


def problems(*replies: dict[str, Any]) -> list[tuple[str, str]]:
    workers = [Worker.of("celery@one", reply, asked=NOW, timeout=1.0) for reply in replies]
    return [(each.level, each.text) for each in of_workers(workers)]


@pytest.mark.parametrize("late", [0, 0.5, 1, 5.9, -4.9])
def test_a_relay_that_looks_is_no_problem(late: float) -> None:
    assert problems({**GOOD, "looked_at": NOW + late - 60, "now": NOW + late}) == []


@pytest.mark.parametrize(
    ("reply", "level", "text"),
    [
        ({"error": "its app has no Defer(app)"}, "error", "its app has no Defer(app)"),
        ({**GOOD, "looked_at": None}, "error", "it has no relay yet, or no store"),
        ({**GOOD, "looked_at": NOW - 600}, "error", "its relay has not looked for 10 min"),
        ({**GOOD, "looked_at": NOW + 60, "now": NOW + 61}, "warning", "1 min ahead of this"),
        ({**GOOD, "looked_at": NOW - 60, "now": NOW - 60}, "warning", "-1 min ahead of this"),
    ],
)
def test_a_worker_that_is_not_well(reply: dict[str, Any], level: str, text: str) -> None:
    [(found, problem)] = problems(reply)

    assert found == level
    assert text in problem


def test_a_system_without_workers(app: Celery, store: Described) -> None:
    system = look(app, timeout=0.1)

    [problem] = system.problems
    assert (problem.level, problem.subject) == ("error", "workers")
    assert system.facts["server"] == "Redis 7.4.0"
    assert system.facts["persistence"] == "append-only file"
    assert system.facts["records"] == "with payloads"


def test_the_facts_are_values_too(app: Celery, store: Described) -> None:
    store.about = Details("Redis 7.4.0", "none", "noeviction", 0.5, 7 * 86_400.0, 1_234)
    app.conf.result_expires = timedelta(days=8)

    assert look(app, timeout=0.1).values == {
        "store": app._celery_defer.place,
        "server": "Redis 7.4.0",
        "persistence": "none",
        "memory_policy": "noeviction",
        "clock_ahead_seconds": 0.5,
        "last_due_seconds": 604_800.0,
        "results_expire_seconds": 691_200.0,
        "parked_run_bytes": 1_234,
        "are_runs_recorded": True,
        "payloads": "shown",
        "workers": [],
    }


def test_what_is_not_there_has_no_value(app: Celery, store: Described) -> None:
    app.conf.result_expires, app.conf.defer_record = None, False

    values = look(app, timeout=0.1).values

    absent = ("last_due_seconds", "results_expire_seconds", "parked_run_bytes", "payloads")
    assert [values[name] for name in absent] == [None] * 4
    assert values["are_runs_recorded"] is False


def test_a_wait_that_is_longer_than_results_are_kept(app: Celery, store: Described) -> None:
    store.about = Details("", "", "", last_due=7 * 86_400.0, bytes_per_run=1_234)
    app.conf.result_expires = 86_400

    system = look(app, timeout=0.1)

    assert "a run waits for 7 d more, and results are kept for 1 d" in system.problems[0].text
    assert system.facts["parked run"] == "1,234 bytes"


def test_an_app_that_keeps_no_records_says_so(app: Celery, store: Described) -> None:
    app.conf.defer_record = False

    assert look(app, timeout=0.1).facts["records"] == "off (defer_record)"


def test_the_page_has_each_value(app: Celery, store: Described) -> None:
    reply = {**GOOD, "looked_at": None}
    worker = Worker.of("celery@one", reply, asked=NOW, timeout=1.0)
    names = [*look(app, timeout=0.1).values, *values_of(worker)]

    page = (ROOT / "docs/reference/command-line.md").read_text("utf-8")

    assert [name for name in names if f"`{name}`" not in page] == []
