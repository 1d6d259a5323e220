"""The ids of a line: of the run it is about, and of who has deferred that run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from json import dumps, loads
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu.serialization import register, unregister

from celery_defer import defer, deferred, guard, run_id, step
from tests.support.inside import WatchedStore, Worker, parent_of

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """Returns the ids of the one line whose text contains some words."""

    def ids_of(words: str) -> tuple[Any, ...]:
        [line] = [vars(each) for each in caplog.records if words in each.getMessage()]
        return line["run_id"], line["parent_id"], line["defer_id"]

    with caplog.at_level(logging.INFO, "celery_defer"):
        yield ids_of


def test_a_call_that_is_skipped_has_the_ids_of_its_run(run: Any, receipt: Any, lines: Any) -> None:
    parent = run(lambda: defer("receipt", receipt, "seven").id)

    assert lines("is skipped") == (run_id(parent.id, "receipt"), parent.id, "receipt")


def test_a_line_in_a_deferred_run_has_the_ids_of_that_run(
    app: Celery, worker: Worker, lines: Any
) -> None:
    @deferred
    @app.task(name="waiting", shared=False)
    def waiting() -> None:
        step.sleep("nap", 60)

    parent = worker.run(parent_of(app, lambda: defer("wait", waiting).id))
    worker.drain()

    assert lines("waits at step 'nap'") == (run_id(parent.id, "wait"), parent.id, "wait")


def test_a_run_that_was_not_deferred_has_no_parent(
    run: Any, receipt: Any, store: WatchedStore, lines: Any
) -> None:
    store.away.add("stage")

    parent = run(lambda: defer("receipt", receipt, 7).id)

    assert lines("is not staged") == (parent.id, None, None)


def test_a_relays_line_has_the_ids_of_the_run_in_its_record(
    run: Any, receipt: Any, store: WatchedStore, worker: Worker, lines: Any
) -> None:
    store.away.add("settle")
    parent = run(lambda: defer("receipt", receipt, 7).id)
    store.away.clear()

    worker.later(60)

    assert lines("the relay has published") == (parent.id, None, None)


def test_a_relays_line_about_a_parked_run_says_who_has_deferred_it(
    app: Celery, worker: Worker, lines: Any
) -> None:
    name = f"gone-{uuid4()}"
    register(name, dumps, loads, f"application/{name}", "utf-8")

    @deferred
    @app.task(name="waiting", shared=False, serializer=name)
    def waiting() -> None:
        step.sleep("nap", 60)

    app.conf.accept_content = ["json", name]
    parent = worker.run(parent_of(app, lambda: defer("wait", waiting).id))
    worker.drain()
    unregister(name)

    worker.later(60)

    assert lines("cannot be published") == (run_id(parent.id, "wait"), parent.id, "wait")


def test_a_message_that_does_not_start_its_run_is_logged_with_that_runs_ids(
    run: Any, receipt: Any, worker: Worker, lines: Any
) -> None:
    parent = run(lambda: defer("receipt", receipt, 7).id)
    [message] = worker.published()
    worker.trace(message)
    message.headers["celery_defer"]["token"] = "another"

    worker.trace(message)

    assert lines("this message is ignored") == (run_id(parent.id, "receipt"), parent.id, "receipt")


def test_a_line_outside_any_run_has_the_names_too(caplog: pytest.LogCaptureFixture) -> None:
    guard.logger("celery_defer.test").warning("the broker is back")

    [line] = caplog.records
    assert (line.run_id, line.parent_id, line.defer_id) == (None, None, None)  # type: ignore[attr-defined]


def test_a_project_whose_records_have_such_names_already_is_not_disturbed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = logging.getLogRecordFactory()

    def with_id(*args: Any, **options: Any) -> logging.LogRecord:
        record = make(*args, **options)
        record.run_id = "the project's"
        return record

    logging.setLogRecordFactory(with_id)
    try:
        guard.logger("celery_defer.test").warning("skipped", extra={"run_id": "ours"})
    finally:
        logging.setLogRecordFactory(make)

    [line] = caplog.records
    assert line.run_id == "ours"  # type: ignore[attr-defined]
