"""What ``check --live`` says of a running system."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer.store import Details, MemoryStore
from celery_defer.views.live import Worker, look, of_workers

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


def test_a_wait_that_is_longer_than_results_are_kept(app: Celery, store: Described) -> None:
    store.about = Details("", "", "", last_due=7 * 86_400.0, bytes_per_run=1_234)
    app.conf.result_expires = 86_400

    system = look(app, timeout=0.1)

    assert "a run waits for 7 d more, and results are kept for 1 d" in system.problems[0].text
    assert system.facts["parked run"] == "1,234 bytes"


def test_an_app_that_keeps_no_records_says_so(app: Celery, store: Described) -> None:
    app.conf.defer_record = False

    assert look(app, timeout=0.1).facts["records"] == "off (defer_record)"
