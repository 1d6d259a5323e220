"""A message of a run that has parked or ended meanwhile, delivered once more."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_defer import step
from tests.support.flaky import Declined
from tests.support.inside import Worker

pytestmark = pytest.mark.usefixtures("store")


@pytest.mark.parametrize("ends", ["fails", "returns"])
def test_a_delivery_of_the_first_turn_that_comes_late_leaves_the_parked_run_alone(
    app: Celery, worker: Worker, ends: str
) -> None:
    passes = []

    @app.task(acks_late=True)
    def parent() -> str:
        passes.append(1)
        if len(passes) == 2:  # as a body may that reads a database that is away
            if ends == "fails":
                raise Declined
            return "early"
        step.sleep("nap", 5)
        return "awake"

    result = parent.delay()
    [message] = worker.published()
    worker.trace(message)
    message.delivery_info["redelivered"] = True  # the worker died before it could acknowledge
    worker.trace(message)
    assert result.state == "WAITING"
    worker.wake(5)

    assert result.result == "awake"
    assert len(passes) == 3


def test_a_late_delivery_does_not_tell_that_a_run_waits_which_has_ended(
    app: Celery, worker: Worker
) -> None:
    began = []

    def work() -> None:
        began.append(1)
        if len(began) == 1:  # meanwhile the broker gives the message to another worker
            message.delivery_info["redelivered"] = True
            worker.trace(message)
            worker.wake(5)

    @app.task(acks_late=True)
    def parent() -> None:
        step.run("work", work)
        step.sleep("nap", 5)
        raise Declined

    result = parent.delay()
    [message] = worker.published()
    worker.trace(message)

    assert (result.state, len(began)) == ("FAILURE", 2)
