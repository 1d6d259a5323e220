"""Calls that are given no app find the one that is meant."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from celery_defer import Defer, abort, cancel, send_event
from celery_defer import current as apps
from celery_defer.errors import StoreError
from tests.support.inside import WatchedStore, Worker


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


def test_an_app_that_is_made_later_in_the_thread_does_not_take_events_silently(
    app: Celery, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    other = Celery("other", broker="memory://")
    Defer(other)
    other._celery_defer.store = WatchedStore()

    send_event("spring")
    send_event("spring")

    assert store.asked == []
    [warning] = [r.message for r in caplog.records if r.name == "celery_defer.current"]
    assert warning.startswith("the app in use is 'other', the last that was made in this thread")
    assert repr(app.main) in warning


def test_an_app_may_be_given(app: Celery, store: WatchedStore) -> None:
    Defer(Celery("other", broker="memory://"))

    send_event("spring", app=app)
    cancel("run", app=app)
    abort("run", "id", app=app)

    assert {"emit", "cancel", "claim"} <= {*store.asked}


def test_an_app_without_defer_may_not_be_given() -> None:
    with pytest.raises(StoreError, match=r"has no Defer\(app\)"):
        send_event("spring", app=Celery("bare", set_as_current=False))


def test_a_run_sends_through_its_own_app(
    app: Celery, store: WatchedStore, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(shared=False)
    def tell() -> None:
        send_event("spring")
        cancel("other run")

    Defer(Celery("other", broker="memory://"))
    worker.perform(tell)

    assert {"emit", "cancel"} <= {*store.asked}
    assert "has a Defer too" not in caplog.text


def test_the_current_app_comes_first(app: Celery) -> None:
    Defer(Celery("other", broker="memory://", set_as_current=False))

    assert apps.in_use() is app
