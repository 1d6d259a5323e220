"""Rules 5.1 and 5.4: of several attempts of one run the one whose SUCCESS is stored counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import pytest
from celery import Celery
from celery.backends.redis import RedisBackend

from celery_defer import defer, run_id
from tests.support.inside import WatchedStore, Worker, ids_of, ship_of
from tests.support.one_redis import app_on, asked_of, first_at_success
from tests.support.redis import Server

# redis-py says so of what Celery's result backend calls.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

#: How a run's calls may leave.
BOTH = pytest.mark.parametrize("commit", ["result", "signal"])
STAGED = pytest.mark.parametrize("commit", ["signal"])


class Attempts:
    """A parent whose attempts each have a body of their own; and its one message."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.worker = Worker(app)
        self.store: Any = WatchedStore()
        app._celery_defer.store = self.store
        self.ship = ship_of(app)
        self._bodies: Iterator[Callable[[Any], Any]] = iter(())

        @app.task(name="parent", shared=False, bind=True)
        def parent(task: Any) -> Any:
            return next(self._bodies)(task)

        parent.apply_async(queue=self.worker.apart)
        [self._message] = self.worker.published()

    @property
    def result(self) -> Any:
        return self.app.AsyncResult(self._message.headers["id"])

    def run(self, *bodies: Callable[[Any], Any]) -> None:
        """Run an attempt with each of the bodies; the message of the second has come again."""
        self._bodies = iter(bodies)
        for _ in bodies:
            self.attempt()

    def run_inside(self, outer: Callable[[Any], Any], inner: Callable[[Any], Any]) -> None:
        """Run an attempt with the *inner* body while the one with the *outer* body runs."""

        def both(task: Any) -> Any:
            self.attempt()
            return outer(task)

        self._bodies = iter([both, inner])
        self.attempt()

    def run_with_retries(self, body: Callable[[Any], Any]) -> None:
        """Run attempts with the same body until the run has ended."""
        self._bodies = repeat(body)
        self.attempt()
        while not self.result.ready():
            [self._message] = self.worker.published()
            self.attempt()

    def attempt(self) -> None:
        self.worker.trace(self._message)
        self._message.delivery_info["redelivered"] = True

    # -- bodies ----------------------------------------------------------------------------

    def defers(self, *ids: str, returns: object = 7, when: Any = "success") -> Any:
        def body(_: Any) -> object:
            for id in ids:
                defer(id, self.ship.with_options(when=when), 1)
            return returns

        return body

    def fails(self, _: Any) -> None:
        defer("alarm", self.ship.with_options(when="failure"), 1)
        defer("ship", self.ship, 1)
        raise ValueError("no")


@pytest.fixture
def commit() -> str:
    return "result"


@pytest.fixture
def attempts(server: Server, commit: str) -> Attempts:
    return Attempts(app_on(server, defer_commit=commit))


# -- an attempt after one that has succeeded -------------------------------------------------


@BOTH
@pytest.mark.parametrize("again", [["ship"], ["other"], []])
def test_an_attempt_after_one_that_has_succeeded_sends_nothing(
    server: Server, attempts: Attempts, again: list[str]
) -> None:
    attempts.run(attempts.defers("ship"))
    assert ids_of(attempts.worker.published()) == ["ship"]
    attempts.run(attempts.defers(*again, returns=8))

    assert attempts.result.get() == 7
    assert [child.id for child in attempts.result.children] == [run_id(attempts.result.id, "ship")]
    assert attempts.worker.published() == []
    assert attempts.worker.later(60) == []
    assert attempts.store.waiting() == 0


@pytest.mark.parametrize("again", [["ship"], ["other"], []])
@STAGED
def test_an_attempt_after_one_that_has_succeeded_leaves_what_that_could_not_publish(
    attempts: Attempts, again: list[str]
) -> None:
    attempts.store.away = {"settle"}  # as if it had died
    attempts.run(attempts.defers("ship"))
    attempts.worker.published()
    attempts.store.away = set()
    attempts.run(attempts.defers(*again))

    assert attempts.worker.published() == []
    assert ids_of(attempts.worker.later(60)) == ["ship"]
    assert attempts.store.waiting() == 0


@BOTH
def test_an_attempt_that_fails_after_one_that_has_succeeded_sends_nothing(
    attempts: Attempts,
) -> None:
    attempts.run(attempts.defers("ship"))
    attempts.worker.published()
    attempts.run(attempts.fails)

    assert attempts.result.get() == 7
    assert attempts.worker.published() == []
    assert attempts.worker.later(60) == []


@STAGED
def test_an_attempt_that_fails_after_one_that_has_succeeded_erases_nothing(
    attempts: Attempts,
) -> None:
    attempts.store.away = {"settle"}
    attempts.run(attempts.defers("ship"))
    attempts.worker.published()
    attempts.store.away = set()
    attempts.run(attempts.fails)

    assert attempts.worker.published() == []
    assert ids_of(attempts.worker.later(60)) == ["ship"]


@BOTH
@pytest.mark.parametrize("end", ["returns", "returns without calls", "fails"])
def test_a_bad_call_of_an_attempt_after_one_that_has_succeeded_is_not_recorded(
    attempts: Attempts, end: str
) -> None:
    def body(_: Any) -> None:
        if end == "returns":
            defer("other", attempts.ship, 1)
        defer("ship", attempts.ship, "no number")
        if end == "fails":
            raise ValueError("no")

    attempts.run(attempts.defers("ship"), body)

    assert attempts.app.AsyncResult(run_id(attempts.result.id, "ship")).state == "PENDING"


# -- an attempt during which another has succeeded -------------------------------------------


@BOTH
def test_an_attempt_that_fails_while_another_has_succeeded_sends_nothing_for_the_failure(
    attempts: Attempts,
) -> None:
    attempts.run_inside(attempts.fails, attempts.defers("ship"))

    assert attempts.result.get() == 7
    assert ids_of(attempts.worker.published()) == ["ship"]
    # What it has staged is told apart by nobody: each run starts once.
    assert set(ids_of(attempts.worker.later(60))) <= {"ship"}
    assert attempts.store.waiting() == 0


@STAGED
def test_an_attempt_that_fails_while_another_has_succeeded_erases_nothing(
    attempts: Attempts,
) -> None:
    attempts.store.away = {"settle"}
    attempts.run_inside(attempts.fails, attempts.defers("ship"))
    attempts.worker.published()
    attempts.store.away = set()

    assert ids_of(attempts.worker.later(60)) == ["ship"]
    assert attempts.store.waiting() == 0


@BOTH
def test_an_attempt_that_succeeds_while_another_has_leaves_what_that_could_not_publish(
    attempts: Attempts,
) -> None:
    many = [f"call-{n}" for n in range(1_001)]  # too many to go with a result
    attempts.store.away = {"settle"}
    attempts.run_inside(attempts.defers("late"), attempts.defers(*many))
    attempts.worker.published()
    attempts.store.away = set()

    assert ids_of(attempts.worker.later(60)) == many
    assert attempts.store.waiting() == 0


@BOTH
def test_an_attempt_that_succeeds_after_another_has_starts_each_call_once(
    attempts: Attempts,
) -> None:
    attempts.run_inside(attempts.defers("ship", returns="late"), attempts.defers("ship"))

    assert attempts.result.get() == 7
    results = attempts.worker.drain()
    assert {each.id for each in results} == {run_id(attempts.result.id, "ship")}
    assert attempts.store.waiting() == 0


@BOTH
def test_an_attempt_that_succeeds_after_another_has_failed_sends_its_calls(
    attempts: Attempts,
) -> None:
    attempts.run(attempts.fails)
    assert ids_of(attempts.worker.published()) == ["alarm"]
    attempts.run(attempts.defers("ship"))

    assert attempts.result.get() == 7
    assert ids_of(attempts.worker.published()) == ["ship"]


# -- a body that stores its own success ----------------------------------------------------


@BOTH
@pytest.mark.parametrize("retries", [0, 1])
def test_a_body_that_stores_its_success_itself_has_its_calls_published(
    attempts: Attempts, retries: int
) -> None:
    def body(task: Any) -> str:
        if task.request.retries < retries:
            raise task.retry(countdown=0)
        defer("ship", attempts.ship, 1)
        task.update_state(state="SUCCESS", meta="its own")
        return "returned"

    seen: list[int] = []
    with first_at_success(lambda **_: seen.append(attempts.store.waiting())):
        attempts.run_with_retries(body)

    assert attempts.result.get() == "its own"
    assert ids_of(attempts.worker.published()) == ["ship"]
    assert attempts.store.waiting() == 0
    assert seen == [1]  # a crash after the signal would lose nothing


# -- what is stored in other ways ------------------------------------------------------------

WAYS: dict[str, dict[str, Any]] = {
    "pickle": {"result_serializer": "pickle", "accept_content": ["json", "pickle"]},
    "compressed": {"result_compression": "zlib"},
    "extended": {"result_extended": True},
    "started": {"task_track_started": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_success_that_is_stored_in_any_way_stays(
    server: Server, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    if way == "compressed" and not hasattr(RedisBackend, "supports_result_compression"):
        pytest.skip("Celery before 5.7 compresses no results")
    attempts = Attempts(app_on(server, **WAYS[way]))
    attempts.run(attempts.defers("ship"))
    attempts.worker.published()
    with asked_of(server) as asked:
        attempts.run(attempts.defers("ship", "other", returns=8))

    assert attempts.result.get() == 7
    assert attempts.worker.published() == []
    assert "SETEX" not in [each.verb for each in asked]
    assert "could not go" not in caplog.text


def test_a_success_that_redis_cannot_read_stays(server: Server, attempts: Attempts) -> None:
    attempts.run(attempts.defers("ship", returns="\ud800"))
    attempts.run(attempts.defers("ship", returns=8))

    assert attempts.result.get() == "\ud800"
    assert len({each.id for each in attempts.worker.drain()}) == 1
