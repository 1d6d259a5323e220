"""Rules 3.7 and 3.10: how many calls a run makes, how large, and how deep they go."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer import DepthError, LimitError, defer, deferred
from tests.support.inside import Worker


def test_3_7_up_to_the_limit_every_call_arrives(
    run: Any, receipt: Any, worker: Worker, ran: Any, app: Celery
) -> None:
    app.conf.defer_max_per_run = 3

    def parent() -> Any:
        return [defer(f"receipt-{n}", receipt, order_id=n).skipped for n in range(5)]

    skipped = run(parent).get()
    worker.drain()

    assert skipped[:3] == [None] * 3
    assert all("defer_max_per_run" in reason for reason in skipped[3:])
    assert ran == [0, 1, 2]


def test_3_7_ten_thousand_calls_arrive(run: Any, receipt: Any, worker: Worker) -> None:
    run(lambda: [defer(str(n), receipt, order_id=n) for n in range(10_001)] and None)

    assert len(worker.published()) == 10_000


def test_3_7_a_payload_over_the_limit_is_refused(run: Any, app: Celery, worker: Worker) -> None:
    app.conf.defer_max_payload_bytes = 100

    @deferred(app)
    def take(text: str) -> None: ...

    fits = "x" * (100 - len('[[""],{}]'))

    def parent() -> Any:
        return [defer("small", take, fits).skipped, defer("large", take, f"{fits}x").skipped]

    small, large = run(parent).get()

    assert small is None
    assert "the payload has 101 bytes; defer_max_payload_bytes = 100" in large
    assert len(worker.published()) == 1


def test_3_10_a_function_that_defers_to_itself_ends(app: Celery, worker: Worker) -> None:
    app.conf.defer_max_depth = 3
    reasons: list[Any] = []

    @deferred(app)
    def again(n: int) -> None:
        reasons.append(defer("again", again, n + 1).skipped)

    worker.run(again, 0)
    worker.drain()

    assert reasons[:3] == [None] * 3
    assert "defer_max_depth" in reasons[3]
    assert len(reasons) == 4


def test_3_10_the_depth_has_an_error_of_its_own() -> None:
    assert issubclass(DepthError, LimitError)
