"""A step that runs a deferred function as a run of its own, and waits for its end."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore
from pydantic import BaseModel

from celery_defer import PayloadError, StepError, current_run, defer, deferred, step
from celery_defer.errors import NotDeferredError
from celery_defer.steps.invoke import FIRST_LOOK
from tests.support.inside import WatchedStore, Worker
from tests.support.stage import Stage


class Invoice(BaseModel):
    id: UUID
    total: Decimal
    raw: bytes = b"\xff\x00"


@pytest.fixture
def make_invoice(app: Celery) -> Any:
    @deferred
    @app.task(name="make_invoice", shared=False, pydantic=False)
    def make_invoice(total: Decimal) -> dict[str, str]:
        return {"total": str(total)}

    return make_invoice


@pytest.fixture
def parent(app: Celery, make_invoice: Any) -> Any:
    @app.task(name="parent")
    def parent(total: Any = "1.50") -> Any:
        return step.invoke("invoice", make_invoice, total=total)

    return parent


def test_an_invocation_answers_the_result_of_its_run(parent: Any, stage: Stage) -> None:
    result = stage.begin(parent)
    assert result.state == "WAITING"
    stage.worker.drain()

    assert result.result == {"total": "1.50"}


def test_an_invocation_begins_one_run_and_answers_the_same_in_each_pass(
    app: Celery, make_invoice: Any, stage: Stage
) -> None:
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.invoke("invoice", make_invoice, total=1))
        step.sleep("nap", 5)

    stage.begin(parent)
    (message,) = stage.worker.published()
    stage.worker.trace(message)
    stage.worker.drain()
    stage.go_on()

    assert answers == [{"total": "1"}] * 2


def test_a_waiting_run_tells_which_run_it_waits_for(parent: Any, stage: Stage) -> None:
    result = stage.begin(parent)
    (message,) = stage.worker.published()

    assert result.info == {
        "step": "invoice",
        "waiting_for": "run",
        "run": message.headers["id"],
        "task": "make_invoice",
        "until": None,
    }


def test_an_invoked_run_is_linked_to_its_invoker(app: Celery, stage: Stage) -> None:
    runs = []

    @deferred
    @app.task(shared=False)
    def child() -> None:
        runs.append(current_run())

    @app.task
    def parent() -> str:
        step.invoke("child", child)
        step.sleep("nap", 5)
        return current_run().id

    result = stage.finish(parent)
    stage.worker.drain()
    stage.go_on()

    (run,) = runs
    assert run.parent is not None
    assert (run.parent.id, run.root_id) == (result.id, result.id)
    assert [each.id for each in result.children] == [run.id]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Decimal, Decimal("1.50")),
        (datetime, datetime(2030, 1, 1, tzinfo=timezone.utc)),
        (UUID, UUID(int=1)),
        (bytes, b"\xff\x00"),
        (bytes, b"abcd"),
        (float, float("inf")),
        (list[datetime], [datetime(2030, 1, 1, tzinfo=timezone.utc)]),
        (int, 2**70),
        (None, None),
    ],
)
def test_the_result_has_the_type_that_the_function_is_annotated_with(
    app: Celery, stage: Stage, annotation: Any, value: Any
) -> None:
    def child() -> Any:
        return value

    child.__annotations__["return"] = annotation
    task = deferred(app.task(shared=False)(child))
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.invoke("child", task))
        step.sleep("nap", 5)

    stage.begin(parent)
    stage.worker.drain()
    stage.go_on()

    assert answers == [value, value]
    assert type(answers[0]) is type(value)


def test_a_model_comes_back_as_a_model(app: Celery, stage: Stage) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> Invoice:
        return Invoice(id=UUID(int=1), total=Decimal("1.50")).model_dump()  # type: ignore[return-value]

    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.invoke("child", child))

    stage.begin(parent)
    stage.worker.drain()

    assert answers == [Invoice(id=UUID(int=1), total=Decimal("1.50"))]


class Declined(Exception):
    """What a child raises."""


def test_a_run_that_fails_raises_step_error_in_its_invoker(app: Celery, stage: Stage) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> None:
        raise Declined("no funds")

    caught = []

    @app.task
    def parent() -> str:
        try:
            step.invoke("child", child)
        except StepError as error:
            caught.append(error)
        step.sleep("nap", 5)
        return "unpaid"

    result = stage.begin(parent)
    stage.worker.drain()
    stage.go_on()

    assert result.result == "unpaid"
    assert [error.step for error in caught] == ["child"] * 2
    assert [error.__cause__.args for error in caught] == [("no funds",)] * 2  # type: ignore[union-attr]


def test_an_invoker_waits_for_the_retries_of_its_run(app: Celery, stage: Stage) -> None:
    tries = []

    @deferred
    @app.task(shared=False, autoretry_for=(Declined,), default_retry_delay=0)
    def child() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise Declined
        return len(tries)

    @app.task
    def parent() -> int:
        return step.invoke("child", child)

    result = stage.begin(parent)
    stage.worker.drain()

    assert result.result == 3


def test_an_invoker_waits_for_a_run_that_waits(app: Celery, stage: Stage) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> str:
        step.sleep("nap", 60)
        return "awake"

    @app.task
    def parent() -> str:
        return step.invoke("child", child)

    result = stage.begin(parent)
    stage.worker.drain()
    stage.wake(30)
    assert result.state == "WAITING"
    stage.wake(60)

    assert result.result == "awake"


def test_an_invoker_of_an_invoker_waits_too(app: Celery, stage: Stage) -> None:
    @deferred
    @app.task(shared=False)
    def third() -> int:
        return 1

    @deferred
    @app.task(shared=False)
    def second() -> int:
        return step.invoke("third", third) + 1

    @app.task
    def first() -> int:
        return step.invoke("second", second) + 1

    result = stage.begin(first)
    stage.worker.drain()

    assert result.result == 3


def test_a_run_that_is_revoked_raises_step_error_in_its_invoker(
    app: Celery, parent: Any, stage: Stage
) -> None:
    result = stage.begin(parent)
    (message,) = stage.worker.published()
    app.backend.mark_as_revoked(message.headers["id"], "revoked")
    stage.wake(FIRST_LOOK)

    assert isinstance(result.result, StepError)
    assert "revoked" in str(result.result)


def test_an_end_of_which_nobody_tells_is_found_by_a_relay(
    parent: Any, stage: Stage, store: WatchedStore
) -> None:
    result = stage.begin(parent)
    store.away = {"arrive"}
    (message,) = stage.worker.published()
    stage.worker.trace(message)
    assert stage.worker.published() == []
    store.away = set()
    stage.wake(FIRST_LOOK)

    assert result.result == {"total": "1.50"}


def test_a_relay_looks_again_and_again_for_a_run_that_takes_its_time(
    parent: Any, stage: Stage, store: WatchedStore
) -> None:
    result = stage.begin(parent)
    (message,) = stage.worker.published()
    for _ in range(20):
        assert stage.later(60) == []
    store.away = {"arrive"}
    stage.worker.trace(message)
    store.away = set()
    stage.wake(60)

    assert result.result == {"total": "1.50"}


def test_a_run_that_ends_before_its_invoker_has_parked_is_not_missed(
    parent: Any, stage: Stage, store: WatchedStore
) -> None:
    # The child runs to its end while its invoker is about to park.
    class Quick(WatchedStore):
        def __getattr__(self, name: str) -> Any:
            if name == "park" and (messages := stage.worker.published()):
                for message in messages:
                    stage.worker.trace(message)
            return super().__getattr__(name)

    stage.extension.store = quick = Quick()
    quick._store = store._store
    result = stage.begin(parent)
    stage.worker.drain()

    assert result.result == {"total": "1.50"}


def test_a_run_that_was_invoked_before_a_crash_is_not_begun_anew(
    parent: Any, stage: Stage, store: WatchedStore
) -> None:
    started = []

    class Killed(BaseException):
        """SIGKILL: nothing of this process happens any more."""

    class Deadly(WatchedStore):
        def __getattr__(self, name: str) -> Any:
            if name == "park" and not started:
                started.append(name)
                raise Killed
            return super().__getattr__(name)

    stage.extension.store = deadly = Deadly()
    deadly._store = store._store
    parent.apply_async()
    (message,) = stage.worker.published()
    with pytest.raises(Killed):
        stage.worker.trace(message)
    message.delivery_info["redelivered"] = True
    (child,) = stage.worker.published()
    stage.worker.trace(child)
    stage.worker.trace(message)
    (again,) = stage.worker.published() or [None]
    if again is not None:
        stage.worker.trace(again)
    stage.worker.drain()

    assert stage.app.AsyncResult(message.headers["id"]).result == {"total": "1.50"}


def test_a_broker_that_is_away_leaves_the_invoked_run_to_a_relay(nowhere: Celery) -> None:
    ship = nowhere.tasks["ship"]

    @nowhere.task(shared=False)
    def parent() -> Any:
        return step.invoke("ship", ship, n=1)

    result = Worker(nowhere).perform(parent)

    assert result.state == "WAITING"
    assert nowhere._celery_defer.store.waiting() == 2


@pytest.mark.parametrize("how", ["task", "app", "disabled://", "rpc://"])
def test_a_function_that_keeps_no_result_cannot_be_waited_for(
    app: Celery, stage: Stage, how: str
) -> None:
    @deferred
    @app.task(shared=False, name="child", ignore_result=how == "task")
    def child() -> None: ...

    if how == "app":
        app.conf.task_ignore_result = True
        child.ignore_result = True

    @app.task(ignore_result=False)
    def parent() -> None:
        step.invoke("child", child)

    if how.endswith("://"):
        child.backend = Celery("other", backend=how, set_as_current=False).backend
    result = stage.begin(parent)

    assert "step 'child' cannot wait for child, which keeps no result" in str(result.result)
    assert stage.worker.published() == []


def test_a_bad_payload_is_an_error_where_it_is_written(parent: Any, stage: Stage) -> None:
    result = stage.begin(parent, "much")

    assert isinstance(result.result, PayloadError)
    assert stage.worker.published() == []


def test_a_task_that_is_not_deferred_cannot_be_invoked(app: Celery, stage: Stage) -> None:
    @app.task
    def plain() -> None: ...

    @app.task
    def parent() -> None:
        step.invoke("plain", plain)  # type: ignore[arg-type]

    assert isinstance(stage.begin(parent).result, NotDeferredError)


def test_an_invoked_run_goes_by_its_options(app: Celery, make_invoice: Any, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        options = make_invoice.with_options(priority=3, headers={"x": "y"}, when="failure")
        step.invoke("invoice", options, total=1)

    stage.begin(parent)
    (message,) = stage.worker.published()

    assert message.headers["x"] == "y"
    assert message.properties["priority"] == 3


def test_each_of_several_invocations_is_a_run_of_its_own(
    app: Celery, make_invoice: Any, stage: Stage
) -> None:
    @app.task
    def parent() -> list[Any]:
        return [step.invoke("invoice", make_invoice, total=n)["total"] for n in range(3)]

    result = stage.begin(parent)
    stage.worker.drain()

    assert result.result == ["0", "1", "2"]


def test_an_invocation_may_have_the_id_of_a_call(
    app: Celery, make_invoice: Any, ship: Any, stage: Stage
) -> None:
    from celery_defer import defer  # noqa: PLC0415

    @app.task
    def parent() -> str:
        step.invoke("same", make_invoice, total=1)
        return defer("same", ship, 7).id

    result = stage.begin(parent)
    stage.worker.drain()

    assert stage.app.AsyncResult(result.result).result == 7


def test_an_answer_without_json_is_an_error_that_names_the_step(app: Celery, stage: Stage) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> Any:
        return "text"

    @app.task
    def parent() -> int:
        child.run.__annotations__["return"] = int
        return step.invoke("child", child)  # type: ignore[no-any-return]

    result = stage.begin(parent)
    stage.worker.drain()

    assert isinstance(result.result, StepError)
    assert "step 'child' has answered" in str(result.result)


def test_an_invoked_run_that_is_ignored_leaves_its_invoker_waiting(
    app: Celery, stage: Stage
) -> None:
    @deferred
    @app.task(shared=False, bind=True)
    def child(self: Task[Any, Any]) -> None:
        raise Ignore

    @app.task
    def parent() -> None:
        step.invoke("child", child)

    result = stage.begin(parent)
    stage.worker.drain()
    stage.wake(60)

    assert result.state == "WAITING"


def test_in_a_chord_an_invocation_waits_no_longer_than_the_chord_counts(
    app: Celery, stage: Stage
) -> None:
    @deferred
    @app.task(shared=False, name="child")
    def child() -> None: ...

    @app.task(shared=False)
    def parent() -> None:
        step.invoke("child", child)

    @app.task(shared=False)
    def total(results: list[object]) -> None: ...

    app.conf.result_chord_expires = 100
    result = stage.begin(parent, chord=total.s().set(task_id="total"), group_id="the-group")
    stage.worker.published()  # the child never runs
    for _ in range(3):
        stage.wake(40)

    assert result.state == "FAILURE"
    assert "set result_chord_expires" in str(result.result)


def test_an_invocation_and_a_call_of_any_id_are_two_runs(app: Celery, stage: Stage) -> None:
    @deferred
    @app.task(shared=False, name="child")
    def child(n: int) -> int:
        return n

    @app.task(shared=False)
    def parent() -> int:
        for id in ("x", "step:x"):
            defer(id, child, n=1)
        return step.invoke("x", child, n=2)

    result = stage.finish(parent)
    stage.worker.drain()

    assert result.get() == 2
    assert len({child.id for child in result.children}) == 3


def test_a_result_that_expires_before_the_invoker_goes_on_is_not_lost(
    app: Celery, parent: Any, stage: Stage
) -> None:
    result = stage.begin(parent)
    [child] = stage.worker.published()
    stage.worker.trace(child)
    app.AsyncResult(child.headers["id"]).forget()
    stage.worker.drain()

    assert result.result == {"total": "1.50"}


def test_a_failed_run_is_named_to_its_invoker_in_each_pass(app: Celery, stage: Stage) -> None:
    @deferred
    @app.task(name="shop.backup", shared=False)
    def backup() -> None:
        raise Declined("disk full")

    told = []

    @app.task
    def parent() -> None:
        try:
            step.invoke("backup", backup)
        except StepError as error:
            told.append(str(error))
        step.sleep("nap", 5)

    stage.begin(parent)
    [child] = stage.worker.published()
    stage.worker.trace(child)
    stage.worker.drain()
    stage.go_on()

    whose = f"run {child.headers['id']} (shop.backup)"
    assert told == [f"step 'backup' has failed: {whose} ended with Declined('disk full')"] * 2


def test_a_bad_invocation_names_its_step(app: Celery, make_invoice: Any, stage: Stage) -> None:
    @app.task
    def plain() -> None: ...

    @app.task
    def parent() -> list[str]:
        told = []
        for task, total in ((make_invoice, "much"), (plain, 1)):
            with pytest.raises((PayloadError, NotDeferredError)) as caught:
                step.invoke("invoice", task, total=total)
            told.append(str(caught.value))
            problems.append(getattr(caught.value, "problems", None))
        return told

    problems: list[Any] = []
    payload, unknown = stage.begin(parent).result

    assert payload.startswith("step 'invoice': payload of make_invoice: total: ")
    assert "step 'invoice:1': " in unknown
    assert "is not a deferred function" in unknown
    assert len(problems[0]) == 1
