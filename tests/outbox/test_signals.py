"""The signals: when each is sent, by whom, with what; and that no handler disturbs a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery

from celery_defer import (
    abort,
    cancel,
    defer,
    deferred,
    deferring,
    run_id,
    send_event,
    signals,
    step,
)
from celery_defer.signals import PublishedCall
from tests.support.inside import WatchedStore, Worker

pytestmark = pytest.mark.usefixtures("store")


class Heard(list[tuple[str, Any, dict[str, Any]]]):
    """What was sent: the signal's name, the sender, the facts."""

    def __call__(self, signal: Any, sender: Any, **facts: Any) -> None:
        self.append((signal.name, sender, facts))

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self]

    def one(self, name: str) -> tuple[Any, dict[str, Any]]:
        (found,) = [(sender, facts) for signal, sender, facts in self if signal == name]
        return found


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    every = [getattr(signals, name) for name in signals.__all__ if name != "PublishedCall"]
    for signal in every:
        signal.connect(heard)
    yield heard
    for signal in every:
        signal.disconnect(heard)


@pytest.fixture
def parent_of(app: Celery) -> Any:
    """Make a task of a body, whose return value is dropped."""

    def parent_of(body: Any) -> Any:
        @app.task(name="parent", shared=False)
        def parent() -> None:
            body()

        return parent

    return parent_of


@pytest.fixture
def run(worker: Worker, parent_of: Any) -> Any:
    return lambda body: worker.run(parent_of(body))


@pytest.fixture
def napping(app: Celery) -> Any:
    """A deferred function that waits for a minute."""

    @deferred
    @app.task(name="napping", shared=False)
    def napping() -> str:
        step.sleep("nap", 60)
        return "awake"

    return napping


def test_a_call_is_deferred_and_then_published(run: Any, receipt: Any, heard: Heard) -> None:
    parent = run(lambda: defer("receipt", receipt, 7))

    child = run_id(parent.id, "receipt")
    own = {"run_id": child, "parent_id": parent.id, "defer_id": "receipt", "task": receipt.name}
    published = [PublishedCall(child, "receipt", receipt.name)]
    assert list(heard) == [
        ("call_deferred", "parent", {**own, "when": "success"}),
        (
            "calls_published",
            "parent",
            {"parent_id": parent.id, "calls": published, "is_relayed": False},
        ),
    ]


def test_a_call_of_a_parent_that_fails_is_not_published(
    run: Any, receipt: Any, heard: Heard
) -> None:
    def body() -> None:
        defer("receipt", receipt, 7)
        raise ValueError

    run(body)

    assert heard.names == ["call_deferred"]


def test_a_call_that_is_refused_is_skipped(run: Any, receipt: Any, heard: Heard) -> None:
    parent = run(lambda: defer("receipt", receipt, "seven"))

    sender, facts = heard.one("call_skipped")
    assert heard.names == ["call_skipped"]
    assert sender == "parent"
    assert facts["run_id"] == run_id(parent.id, "receipt")
    assert facts["defer_id"] == "receipt"
    assert facts["error"] == "PayloadError"
    assert "order_id" in facts["reason"]


def test_a_call_that_its_task_does_not_publish_is_skipped(
    app: Celery, run: Any, heard: Heard
) -> None:
    class Dropping(app.Task):  # type: ignore[misc,name-defined]
        def apply_async(self, *args: Any, **options: Any) -> None: ...

    @deferred
    @app.task(name="dropped", base=Dropping, shared=False)
    def dropped() -> None: ...

    parent = run(lambda: defer("it", dropped))

    sender, facts = heard.one("call_skipped")
    assert (sender, facts["parent_id"], facts["error"]) == ("parent", parent.id, "NotPublished")
    assert "calls_published" not in heard.names


def test_a_call_of_now_is_published_at_once(run: Any, receipt: Any, heard: Heard) -> None:
    run(lambda: defer("receipt", receipt.with_options(when="now"), 7))

    assert heard.names == ["calls_published", "call_deferred"]


def test_what_a_worker_has_left_is_published_by_a_relay(
    app: Celery, worker: Worker, store: WatchedStore, receipt: Any, heard: Heard, parent_of: Any
) -> None:
    store.away.add("settle")
    worker.run(parent_of(lambda: defer("receipt", receipt, 7)))
    store.away.clear()

    worker.later(60)

    relayed = [facts["is_relayed"] for name, _, facts in heard if name == "calls_published"]
    assert relayed == [False, True]  # seen twice, because the first was not settled


def test_a_block_sends_the_signals_too(app: Celery, receipt: Any, heard: Heard) -> None:
    with deferring(app) as parent:
        defer("receipt", receipt, 7)

    sender, facts = heard.one("calls_published")
    assert (sender, facts["parent_id"]) == ("celery_defer.deferring", parent.id)


def test_eager_calls_count_as_published(
    app: Celery, receipt: Any, heard: Heard, parent_of: Any
) -> None:
    app.conf.task_always_eager = True

    parent_of(lambda: defer("receipt", receipt, 7)).delay()

    assert heard.names == ["call_deferred", "calls_published"]


def test_a_run_parks_and_a_relay_wakes_it(
    app: Celery, worker: Worker, napping: Any, heard: Heard, parent_of: Any
) -> None:
    parent = worker.run(parent_of(lambda: defer("nap", napping)))
    worker.drain()
    until = worker.now + 60

    worker.wake(75)

    child = run_id(parent.id, "nap")
    own = {"run_id": child, "parent_id": parent.id, "defer_id": "nap", "task": "napping"}
    waits = {"step": "nap", "kind": "sleep", "until": until}
    assert heard.one("run_parked") == ("napping", {**own, **waits})
    assert heard.one("run_woken") == ("napping", {**own, "turn": 1, "late": pytest.approx(15)})


def test_the_sender_of_an_event_wakes_a_run(app: Celery, worker: Worker, heard: Heard) -> None:
    @app.task(name="buyer", shared=False)
    def buyer() -> None:
        step.wait_for_event("bought", "bought", timeout="1d")

    waiting = worker.run(buyer)

    send_event("bought", app=app)

    sender, facts = heard.one("run_woken")
    assert sender == "buyer"
    assert (facts["run_id"], facts["parent_id"], facts["late"]) == (waiting.id, None, None)


def test_a_run_is_aborted_before_it_starts(heard: Heard) -> None:
    abort("parent-1", "nap")

    sender, facts = heard.one("run_aborted")
    child = run_id("parent-1", "nap")
    assert sender is None
    assert facts == {
        "run_id": child, "parent_id": "parent-1", "defer_id": "nap", "task": None,
        "state": "ABORTED", "reason": None,
    }  # fmt: skip


def test_a_call_that_its_body_withdraws_is_aborted_once(
    run: Any, receipt: Any, heard: Heard
) -> None:
    def body() -> None:
        handle = defer("receipt", receipt, 7)
        handle.abort()
        handle.abort()

    parent = run(body)

    sender, facts = heard.one("run_aborted")
    assert (sender, facts["parent_id"], facts["state"]) == (receipt.name, parent.id, "ABORTED")
    assert heard.names == ["call_deferred", "run_aborted"]


def test_a_parked_run_that_is_cancelled_is_aborted(
    app: Celery, worker: Worker, napping: Any, heard: Heard, parent_of: Any
) -> None:
    parent = worker.run(parent_of(lambda: defer("nap", napping)))
    worker.drain()

    cancel(run_id(parent.id, "nap"), app=app)

    sender, facts = heard.one("run_aborted")
    assert sender == "napping"
    assert (facts["defer_id"], facts["parent_id"]) == ("nap", parent.id)
    assert facts["state"] == "REVOKED"


def test_a_run_that_is_cancelled_in_its_body_is_aborted(
    app: Celery, worker: Worker, heard: Heard
) -> None:
    @app.task(name="cancelled", shared=False, bind=True)
    def cancelled(self: Any) -> None:
        cancel(self.request.id, app=app)
        step.run("charge", int)

    ended = worker.run(cancelled)

    sender, facts = heard.one("run_aborted")
    assert (sender, facts["run_id"], facts["state"]) == ("cancelled", ended.id, "REVOKED")


def test_a_handler_is_connected_to_one_sender(run: Any, receipt: Any) -> None:
    heard = Heard()
    signals.call_deferred.connect(heard, sender="another")

    run(lambda: defer("receipt", receipt, 7))

    signals.call_deferred.disconnect(heard, sender="another")
    assert heard == []


@pytest.mark.parametrize("name", ["call_deferred", "calls_published"])
def test_a_handler_that_raises_is_logged_and_disturbs_nothing(
    name: str, run: Any, receipt: Any, worker: Worker, ran: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def broken(**_: Any) -> None:
        raise ValueError("broken handler")

    signal = getattr(signals, name)
    signal.connect(broken)

    with caplog.at_level(logging.ERROR):
        parent = run(lambda: defer("receipt", receipt, 7))
        worker.drain()

    signal.disconnect(broken)
    assert parent.state == "SUCCESS"
    assert ran == [7]
    assert "broken handler" in caplog.text


def test_a_soft_time_limit_in_a_handler_reaches_the_body(run: Any, receipt: Any) -> None:
    def slow(**_: Any) -> None:
        raise SoftTimeLimitExceeded

    signals.call_deferred.connect(slow)
    reached = []

    def body() -> None:
        try:
            defer("receipt", receipt, 7)
        except SoftTimeLimitExceeded:
            reached.append(True)

    run(body)

    signals.call_deferred.disconnect(slow)
    assert reached == [True]


def test_without_a_handler_nothing_is_sent(
    run: Any, receipt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    kind = type(signals.call_deferred)
    monkeypatch.setattr(kind, "send", lambda self, **_: sent.append(self.name) or [])

    run(lambda: defer("receipt", receipt, 7))

    assert not {*sent} & {*signals.__all__}
