"""``celery -A app defer``: what is in the outbox, and what was put aside."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner, Result

from celery_defer.ids import RunId
from celery_defer.store import MemoryStore


@pytest.fixture
def store(app: Celery) -> MemoryStore:
    app._celery_defer.store = store = MemoryStore()
    return store


def run(app: Celery, *args: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr("celery.bin.celery.find_app", lambda *_, **__: app)
    return CliRunner().invoke(celery, ["-A", "unit", "defer", *args])


def test_it_is_a_command_of_celery(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(app, "--help", monkeypatch=monkeypatch)

    assert "outbox" in result.output
    assert "quarantine" in result.output


def test_outbox_counts(app: Celery, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "three"):
        store.stage(RunId(name), "token", b"body", 1, 60)
    store.quarantine(RunId("two"), "token", "it is bad", 60)

    result = run(app, "outbox", monkeypatch=monkeypatch)

    assert (result.exit_code, result.output) == (
        0,
        "2 waiting, 2 of them due now, 1 in quarantine\n",
    )


def test_quarantine_lists_each_with_its_reason(
    app: Celery, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        store.stage(RunId(name), "token", b"body", 1, 60)
        store.quarantine(RunId(name), "token", f"{name} is bad", 60)

    result = run(app, "quarantine", monkeypatch=monkeypatch)

    assert (result.exit_code, result.output) == (0, "one  one is bad\ntwo  two is bad\n")


def test_an_empty_quarantine_says_so(
    app: Celery, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(app, "quarantine", monkeypatch=monkeypatch).output == "nothing is in quarantine\n"


@pytest.mark.parametrize("command", ["outbox", "quarantine"])
def test_an_app_without_a_store_is_told_what_to_set(
    app: Celery, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(app, command, monkeypatch=monkeypatch)

    assert result.exit_code == 2
    assert "This needs a store: set defer_store_url = 'redis://…'." in result.output


@pytest.mark.parametrize("command", ["outbox", "quarantine"])
def test_an_app_without_defer_is_told_so(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Any = Celery("plain", broker="memory://")
    result = run(plain, command, monkeypatch=monkeypatch)

    assert result.exit_code == 2
    assert "this app has no Defer(app)" in result.output
