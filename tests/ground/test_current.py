"""Calls that are given no app find the one that is meant."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from celery_defer import Defer, send_event
from celery_defer import current as apps
from celery_defer.errors import StoreError
from tests.support.inside import WatchedStore


def elsewhere(question: Callable[[], Any]) -> Any:
    """Ask in a thread, where Celery's current app is none of ours."""
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(question())
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return answers[0]


@pytest.fixture(autouse=True)
def _no_others(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celery._state.default_app", None)  # some test before may have set one
    apps._apps.clear()
    apps.add(app)


def test_the_only_app_is_meant_in_any_thread(app: Celery, store: WatchedStore) -> None:
    assert elsewhere(lambda: send_event("spring")) == 0
    assert "emit" in store.asked


def test_of_several_apps_none_is_guessed(app: Celery) -> None:
    other = Celery("other", broker="memory://", set_as_current=False)
    Defer(other)

    error = elsewhere(apps.in_use)

    assert isinstance(error, StoreError)
    assert "2 have one" in str(error)
    assert "app.set_default()" in str(error)


def test_the_current_app_comes_first(app: Celery) -> None:
    Defer(Celery("other", broker="memory://", set_as_current=False))

    assert apps.in_use() is app
