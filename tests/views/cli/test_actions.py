"""What a person does to a run, from the shell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery

from celery_defer import defer, deferred, run_id, step
from tests.support.inside import WatchedStore, Worker, parent_of
from tests.views.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def waiter(app: Celery) -> Any:
    @app.task(name="waiter")
    def waiter() -> Any:
        event = step.wait_for_event("wait", "order/paid", timeout="7d")
        return event and event.data

    return waiter


# -- wake -----------------------------------------------------------------------------


def test_wake_ends_the_wait_of_a_run(cli: Cli, waiter: Any, worker: Worker) -> None:
    run = worker.run(waiter)

    result = cli("wake", run.id)

    assert (result.exit_code, result.output) == (0, f"run {run.id} goes on\n")
    worker.wake(0)
    assert run.state == "SUCCESS"


def test_a_run_that_does_not_wait_is_not_woken(cli: Cli) -> None:
    result = cli("wake", "unknown")

    assert result.exit_code == 1
    assert result.output == "Error: nothing is known of run unknown\n"


def test_an_error_of_the_package_is_one_line(cli: Cli, app: Celery, worker: Worker) -> None:
    @deferred(app)
    def child() -> None: ...

    @app.task
    def parent() -> None:
        step.invoke("ask", child)

    result = cli("wake", worker.run(parent).id)

    assert result.exit_code == 1
    assert result.output.startswith("Error: step 'ask' of run ")
    assert result.output.count("\n") == 1


# -- cancel, abort ----------------------------------------------------------------------


def test_cancel_ends_a_run_that_waits(cli: Cli, waiter: Any, worker: Worker) -> None:
    run = worker.run(waiter)

    result = cli("cancel", run.id, "--yes")

    assert (result.exit_code, result.output) == (0, f"run {run.id} has ended\n")
    assert run.state == "REVOKED"


def test_abort_withdraws_a_call(cli: Cli, app: Celery) -> None:
    result = cli("abort", "parent", "receipt", "--yes")

    assert result.exit_code == 0
    assert result.output == (
        "'receipt' of run parent is aborted; nothing is known of run parent yet\n"
    )
    assert app.AsyncResult(run_id("parent", "receipt")).state == "ABORTED"


def test_a_parent_of_which_only_a_revoke_is_known_is_not_known(cli: Cli, app: Celery) -> None:
    app.backend.mark_as_revoked("nope", "revoked")  # as `cancel nope` makes the workers do

    result = cli("abort", "nope", "receipt", "--yes")
    again = cli("cancel", "nope", "--yes")

    assert result.output.endswith("is aborted; nothing is known of run nope yet\n")
    assert again.exit_code == 1


def test_what_has_started_is_not_aborted(cli: Cli, app: Celery) -> None:
    app.backend.store_result(run_id("parent", "receipt"), 1, "SUCCESS")

    result = cli("abort", "parent", "receipt", "--yes")

    assert result.exit_code == 1
    assert "has started" in result.output


def test_what_a_parent_has_not_made_is_not_aborted(
    cli: Cli, app: Celery, worker: Worker, ship: Any
) -> None:
    parent = worker.run(parent_of(app, lambda: defer("receipt", ship, n=1) and None))

    wrong = cli("abort", parent.id, "reciept", "--yes")
    right = cli("abort", parent.id, "receipt", "--yes")

    assert wrong.exit_code == 1
    assert f"run {parent.id} has ended, and has deferred nothing as 'reciept'" in wrong.output
    assert (right.exit_code, right.output) == (
        0, f"'receipt' of run {parent.id} is aborted\n",
    )  # fmt: skip


def test_a_call_that_was_dropped_is_not_aborted(
    cli: Cli, app: Celery, worker: Worker, ship: Any
) -> None:
    alert = ship.with_options(when="failure")
    parent = worker.run(parent_of(app, lambda: defer("alert", alert, n=1) and None))

    result = cli("abort", parent.id, "alert", "--yes")

    assert result.exit_code == 1
    assert f"'alert' of run {parent.id} was dropped: its parent has succeeded" in result.output


def test_a_run_that_has_ended_is_not_cancelled(
    cli: Cli, app: Celery, worker: Worker, ship: Any
) -> None:
    parent = worker.run(parent_of(app, lambda: defer("receipt", ship, n=1) and None))

    result = cli("cancel", parent.id, "--yes")

    assert result.exit_code == 1
    assert f"run {parent.id} has ended already: `show` says how" in result.output


def test_a_run_that_is_in_a_queue_is_revoked(
    cli: Cli, app: Celery, worker: Worker, ship: Any
) -> None:
    parent = worker.run(parent_of(app, lambda: defer("receipt", ship, n=1) and None))
    id = run_id(parent.id, "receipt")

    known, unknown = cli("cancel", id, "--yes"), cli("cancel", "unknown", "--yes")

    assert known.exit_code == unknown.exit_code == 0
    assert known.output.startswith(f"run {id} is revoked; it does not start if it is in a queue")
    assert unknown.output.startswith("run unknown is revoked; nothing is known of it: it does not")


def test_without_records_runs_that_have_ended_are_known_by_their_results(
    cli: Cli, app: Celery, worker: Worker, ship: Any
) -> None:
    app.conf.defer_record = False
    parent = worker.run(parent_of(app, lambda: defer("receipt", ship, n=1) and None))
    worker.drain()

    started, ended = cli("abort", parent.id, "receipt", "--yes"), cli("cancel", parent.id, "--yes")
    open = cli("abort", parent.id, "other", "--yes")

    assert (started.exit_code, ended.exit_code, open.exit_code) == (1, 1, 0)
    assert "has started" in started.output
    assert open.output == f"'other' of run {parent.id} is aborted\n"


@pytest.mark.parametrize(
    "command", [("cancel", "run"), ("abort", "parent", "id"), ("quarantine", "drop", "record")]
)
def test_work_is_not_dropped_without_a_yes(
    cli: Cli, store: WatchedStore, command: tuple[str, ...]
) -> None:
    store.asked.clear()

    result = cli(*command)

    assert result.exit_code == 2
    assert "There is no terminal to ask on: give --yes." in result.output
    assert store.asked == []


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (("abort", "parent", "receipt", "--yes"), {"aborted": "receipt", "parent": "parent"}),
        (("cancel", "unknown", "--yes"), {"cancelled": "unknown", "has_ended": False}),
        (
            ("send-event", "order/paid"),
            {"woken": 0, "cancelled": 0, "is_repeat": False, "has_more": False},
        ),
    ],
)
def test_an_action_prints_json(
    cli: Cli, command: tuple[str, ...], printed: dict[str, object]
) -> None:
    assert json.loads(cli(*command, "--json").output) == printed


# -- send-event -------------------------------------------------------------------------


def test_send_event_wakes_the_runs_that_wait(cli: Cli, waiter: Any, worker: Worker) -> None:
    run = worker.run(waiter)

    result = cli("send-event", "order/paid", '{"order_id": 7}')

    assert (result.exit_code, result.output) == (0, "1 run woken\n")
    worker.drain()
    assert run.get() == {"order_id": 7}


def test_an_event_with_an_id_counts_once(cli: Cli) -> None:
    cli("send-event", "order/paid", "7", "--id", "once")

    assert cli("send-event", "order/paid", "7", "--id", "once").output == (
        "0 runs woken; it was sent before\n"
    )


def test_data_that_is_no_json_is_refused(cli: Cli) -> None:
    result = cli("send-event", "order/paid", "{order_id: 7}")

    assert result.exit_code == 2
    assert """Give JSON, such as '{"order_id": 7}';""" in result.output
