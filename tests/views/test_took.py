"""How long steps have really taken, which have failed, and what a restart counts anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery

from celery_defer import cancel, defer, deferred, restart, run_id, step, wake
from celery_defer.testing import Simulation
from celery_defer.views import record
from tests.support.inside import Worker, parent_of
from tests.support.one_redis import app_on
from tests.support.redis import Server

START = datetime(2030, 1, 7, 9, tzinfo=timezone.utc)
MINUTE = 60.0


@pytest.fixture
def sim(app: Celery) -> Iterator[Simulation]:
    with Simulation(app, now=START) as simulation:
        yield simulation


def took(run: str) -> dict[str, Any]:
    return {row.id: row.duration and pytest.approx(row.duration, abs=1) for row in steps(run)}


def steps(run: str) -> Any:
    return record(run).steps


def test_a_wait_that_was_woken_early_shows_what_it_took(app: Celery, sim: Simulation) -> None:
    def body() -> None:
        step.sleep("nap", 60 * MINUTE)
        step.wait_for_event("reply", "replied", timeout=60 * MINUTE)
        step.sleep("rest", 5 * MINUTE)

    run = sim.run(parent_of(app, body))
    for minutes in (10, 20):
        sim.advance(timedelta(minutes=minutes))
        wake(run.id)
        sim.drain()
    sim.advance("1h")

    assert run.state == "SUCCESS"
    assert took(run.id) == {"nap": 10 * MINUTE, "reply": 20 * MINUTE, "rest": 5 * MINUTE}


def test_a_run_that_fails_after_a_wait_that_was_woken_early_does_not_wait_again(
    app: Celery, sim: Simulation
) -> None:
    fails = [True]

    @deferred(app)
    def work() -> str:
        step.sleep("nap", 60 * MINUTE)
        if fails:
            raise ValueError(fails.pop())
        return "done"

    parent = sim.run(parent_of(app, lambda: defer("work", work) and None))
    sim.drain()
    id = run_id(parent.id, "work")
    wake(id)
    (run,) = [run for run in sim.drain() if run.id == id]
    assert run.state == "FAILURE"

    assert restart(id) == []
    sim.drain()

    assert app.AsyncResult(id).get() == "done"


def test_a_wait_that_a_cancel_cut_short_shows_what_it_took(app: Celery, sim: Simulation) -> None:
    run = sim.run(parent_of(app, lambda: step.sleep("nap", 60 * MINUTE)))
    sim.advance(timedelta(minutes=10))
    cancel(run.id)

    assert took(run.id) == {"nap": 10 * MINUTE}
    assert [row.state for row in steps(run.id)] == ["cancelled"]


def test_of_a_cancelled_run_only_the_wait_that_was_not_over_is_cancelled(
    app: Celery, sim: Simulation
) -> None:
    def body() -> None:
        step.sleep("nap", 5 * MINUTE)
        step.wait_for_event("reply", "replied", timeout=60 * MINUTE)

    run = sim.run(parent_of(app, body))
    sim.advance(timedelta(minutes=10))
    cancel(run.id)

    assert {row.id: row.state for row in steps(run.id)} == {"nap": "finished", "reply": "cancelled"}


def test_a_step_that_is_tried_again_takes_all_its_tries(app: Celery, sim: Simulation) -> None:
    outcomes = iter([ValueError("once"), ValueError("twice"), 7])

    def charge() -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    run = sim.run(parent_of(app, lambda: step.run("charge", charge, retries=5)))
    sim.advance("1h")

    [row] = steps(run.id)
    assert run.state == "SUCCESS"
    assert (row.state, row.tries) == ("finished", 3)
    # The waits between them are random parts of 1 and 2 seconds, but half of them at least.
    assert row.duration is not None
    assert 1.4 < row.duration < 3.1


def test_a_failure_that_the_body_has_caught_is_listed(app: Celery, sim: Simulation) -> None:
    def fail() -> None:
        raise ValueError("no card")

    def body() -> None:
        with suppress(ValueError):
            step.run("charge", fail)
        step.run("other", lambda: 1)

    run = sim.run(parent_of(app, body))

    assert run.state == "SUCCESS"
    assert [(row.id, row.state, row.failure) for row in steps(run.id)] == [
        ("charge", "failed", "ValueError('no card')"), ("other", "finished", None),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_step_that_has_failed_the_run_is_listed(server: Server) -> None:
    """Without retries its failure is in no memo: a later attempt of the task tries it again."""
    app = app_on(server)

    def fail() -> None:
        raise ValueError("no card " + "x" * 5_000)

    def body() -> None:
        step.run("look", lambda: "seen")
        step.run("charge", fail)

    result = Worker(app).perform(parent_of(app, body))

    look, charge = steps(result.id)
    assert (look.id, look.state) == ("look", "finished")
    assert (charge.id, charge.kind, charge.state, charge.tries) == ("charge", "run", "failed", 1)
    assert charge.failure.startswith("ValueError('no card xxx")
    assert len(charge.failure) == 500
    assert charge.duration is not None


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_an_invocation_whose_payload_was_refused_is_listed(server: Server) -> None:
    app = app_on(server)

    @deferred
    @app.task(name="invoice", shared=False)
    def invoice(total: int) -> None: ...

    def body() -> None:
        step.invoke("invoice", invoice, total="much")  # type: ignore[arg-type]

    result = Worker(app).perform(parent_of(app, body))

    (row,) = steps(result.id)
    assert (row.id, row.kind, row.state) == ("invoice", "invoke", "failed")
    assert "payload of invoice: total" in row.failure


def test_a_restarted_run_counts_anew(app: Celery, sim: Simulation) -> None:
    fails = [True, True, True]

    @deferred
    @app.task(name="work", autoretry_for=(ValueError,), max_retries=2, retry_backoff=False)
    def work() -> str:
        step.run("look", lambda: "seen")
        if fails:
            raise ValueError(fails.pop())
        return "done"

    parent = sim.run(parent_of(app, lambda: defer("work", work) and None))
    runs = sim.advance("1h")
    id = run_id(parent.id, "work")
    assert [run.state for run in runs if run.id == id][-1] == "FAILURE"
    before = record(id).run
    assert (before.state.value, before.attempts) == ("failed", 3)

    restart(id)
    sim.drain()

    after = record(id).run
    assert (after.state.value, after.attempts) == ("succeeded", 1)
    assert after.duration == pytest.approx(0, abs=5)
    assert after.started_at is not None
    assert after.started_at > START + timedelta(minutes=59)
    assert after.published_at is not None
    assert after.published_at > START + timedelta(minutes=59)
    assert after.latency == pytest.approx(0, abs=5)
    assert after.deferred_at == before.deferred_at
