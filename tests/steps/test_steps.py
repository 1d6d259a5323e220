"""Steps in a run: failures and retries, sleeps, what they defer, where they may stand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery, Task, chain, chord, group
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from kombu import disable_insecure_serializers, enable_insecure_serializers

from celery_defer import (
    NonRetriable,
    NoRunError,
    RetryAfter,
    StepError,
    StoreError,
    current_run,
    defer,
    step,
)
from tests.support.inside import WatchedStore, Worker, ids_of
from tests.support.stage import Stage


@pytest.fixture
def stage(app: Celery, worker: Worker, store: WatchedStore) -> Stage:
    assert app._celery_defer.store is store
    return Stage(app, worker)


@pytest.fixture
def pickles() -> Iterator[None]:
    enable_insecure_serializers(["pickle"])
    yield
    disable_insecure_serializers(["json"])


class Declined(Exception):
    """What a gateway raises."""


class Flaky:
    """Fails as often as it is told, then answers how often it was called."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


# -- failures ---------------------------------------------------------------------------------


def test_what_a_step_raises_leaves_it(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.run("charge", Flaky(Declined("no funds")))

    result = stage.finish(parent)

    assert result.state == "FAILURE"
    assert type(result.result) is Declined
    assert result.result.args == ("no funds",)


def test_a_failure_that_the_body_catches_is_raised_again_by_a_replay(
    app: Celery, stage: Stage
) -> None:
    charge, caught = Flaky(Declined("no funds", 3)), []

    @app.task
    def parent() -> str:
        try:
            step.run("charge", charge)
        except Declined as error:
            caught.append(error)
        step.sleep("nap", 5)
        return "unpaid"

    result = stage.finish(parent)

    assert result.result == "unpaid"
    assert charge.calls == 1
    assert [error.args for error in caught] == [("no funds", 3)] * 2


@pytest.mark.parametrize("wait", ["sleep", "run", "wait", "retry", "send"])
def test_a_caught_failure_is_kept_with_each_kind_of_next_step(
    app: Celery, stage: Stage, wait: str
) -> None:
    charge, other = Flaky(Declined()), Flaky(Declined())

    def next_step() -> None:
        if wait == "sleep":
            step.sleep("next", 5)
        elif wait == "run":
            step.run("next", int)
        elif wait == "wait":
            step.wait_for_event("next", "event", timeout=5)
        elif wait == "retry":
            step.run("next", other, retries=1)
        else:
            step.send_event("next", "event")

    @app.task
    def parent() -> None:
        with suppress(Declined):
            step.run("charge", charge)
        next_step()
        step.sleep("nap", 5)

    assert stage.finish(parent).state == "SUCCESS"
    assert charge.calls == 1


def test_a_failed_step_is_begun_again_by_a_retry_of_the_task(app: Celery, stage: Stage) -> None:
    first, charge = Flaky(), Flaky(Declined())

    @app.task(autoretry_for=(Declined,), default_retry_delay=0, max_retries=2)
    def parent() -> list[int]:
        return [step.run("first", first), step.run("charge", charge)]

    result = stage.begin(parent)
    stage.worker.drain()

    assert result.result == [1, 2]
    assert (first.calls, charge.calls) == (1, 2)


@pytest.mark.parametrize("passing", [Ignore(), Reject("no", requeue=False)])
def test_a_step_may_end_its_run_as_any_body_may(
    app: Celery, stage: Stage, passing: Exception
) -> None:
    @app.task
    def parent() -> None:
        step.run("charge", Flaky(passing), retries=3)

    assert stage.begin(parent).state == "PENDING"
    assert stage.parked() == 0


def test_a_step_may_retry_its_run(app: Celery, stage: Stage) -> None:
    first, tries = Flaky(), []

    def again(task: Task[Any, Any]) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise task.retry(countdown=0)
        return len(tries)

    @app.task(bind=True)
    def parent(self: Task[Any, Any]) -> list[int]:
        return [step.run("first", first), step.run("again", again, self, retries=9)]

    result = stage.begin(parent)
    stage.worker.drain()

    assert result.result == [1, 3]


def test_a_soft_time_limit_leaves_a_step_untried(app: Celery, stage: Stage) -> None:
    late = Flaky(SoftTimeLimitExceeded())

    @app.task
    def parent() -> None:
        step.run("charge", late, retries=3)

    assert type(stage.finish(parent).result) is SoftTimeLimitExceeded
    assert late.calls == 1


# -- retries ----------------------------------------------------------------------------------


def test_a_step_is_tried_again_until_it_answers(app: Celery, stage: Stage) -> None:
    charge = Flaky(Declined(), Declined())

    @app.task
    def parent() -> int:
        return step.run("charge", charge, retries=3)

    result = stage.begin(parent)
    assert result.state == "WAITING"
    assert result.info["waiting_for"] == "retry"
    assert result.info["step"] == "charge"
    stage.go_on()

    assert result.result == 3


def test_the_pauses_between_tries_grow(app: Celery, stage: Stage) -> None:
    charge, pauses = Flaky(*[Declined()] * 12), list[float]()

    @app.task
    def parent() -> int:
        return step.run("charge", charge, retries=12)

    stage.begin(parent)
    while stage.parked():
        pauses.append(stage.extension.store.next_due() - stage.now)
        stage.wake(pauses[-1])

    lower = [min(2.0**n, 600) / 2 for n in range(12)]
    assert all(low <= pause <= 2 * low + 0.01 for low, pause in zip(lower, pauses, strict=True))


def test_a_step_whose_tries_are_used_up_raises_step_error(app: Celery, stage: Stage) -> None:
    charge, caught = Flaky(*[Declined("no funds")] * 9), []

    @app.task
    def parent() -> str:
        try:
            step.run("charge", charge, retries=2)
        except StepError as error:
            caught.append(error)
        step.sleep("nap", 5)
        return "unpaid"

    result = stage.finish(parent)

    assert result.result == "unpaid"
    assert charge.calls == 3
    assert [str(error) for error in caught] == [
        "step 'charge' has failed: Declined('no funds')"
    ] * 2
    assert [error.step for error in caught] == ["charge"] * 2
    assert [type(error.__cause__) for error in caught] == [Declined] * 2


def test_a_step_that_has_failed_for_good_is_not_tried_by_a_retry_of_the_task(
    app: Celery, stage: Stage
) -> None:
    charge = Flaky(*[Declined()] * 9)

    @app.task(autoretry_for=(StepError,), default_retry_delay=0, max_retries=2)
    def parent() -> None:
        step.run("charge", charge, retries=1)

    result = stage.begin(parent)
    stage.go_on()

    assert type(result.result) is StepError
    assert charge.calls == 2


@pytest.mark.parametrize("delay", [300, timedelta(minutes=5), "5m"])
def test_retry_after_says_how_long_to_wait(app: Celery, stage: Stage, delay: Any) -> None:
    charge = Flaky(RetryAfter(delay), Declined())

    @app.task
    def parent() -> int:
        return step.run("charge", charge, retries=2)

    result = stage.begin(parent)
    stage.wake(299)
    assert charge.calls == 1
    stage.wake(1)
    assert charge.calls == 2
    stage.go_on()

    assert result.result == 3


def test_retry_after_is_one_of_the_tries(app: Celery, stage: Stage) -> None:
    charge = Flaky(*[RetryAfter(1)] * 9)

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=2)

    assert type(stage.finish(parent).result) is StepError
    assert charge.calls == 3


def test_retry_after_a_bad_delay_is_an_error_that_names_the_step(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.run("charge", Flaky(RetryAfter("soon")), retries=2)

    result = stage.finish(parent)

    assert "step 'charge' cannot wait for 'soon'" in str(result.result)


def test_non_retriable_ends_the_tries(app: Celery, stage: Stage) -> None:
    charge = Flaky(Declined(), NonRetriable("stolen card"))

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=9)

    result = stage.finish(parent)

    assert type(result.result) is StepError
    assert "stolen card" in str(result.result)
    assert charge.calls == 2


def test_each_of_two_steps_has_its_own_tries(app: Celery, stage: Stage) -> None:
    one, two = Flaky(Declined(), Declined()), Flaky(Declined(), Declined())

    @app.task
    def parent() -> list[int]:
        return [step.run("charge", one, retries=2), step.run("charge", two, retries=2)]

    assert stage.finish(parent).result == [3, 3]


class Odd(Exception):
    """Cannot be made anew from its arguments."""

    def __init__(self, code: int, *, more: str) -> None:
        super().__init__(code)
        self.more = more


@pytest.mark.parametrize("retries", [0, 1])
def test_a_failure_that_cannot_be_made_anew_is_still_one_in_a_replay(
    app: Celery, stage: Stage, retries: int
) -> None:
    class Local(Exception):
        """Of a type that nobody can import."""

    charge, caught = Flaky(*[Local(object())] * 4), []

    @app.task
    def parent() -> str:
        try:
            step.run("charge", charge, retries=retries)
        except Exception as error:
            caught.append(str(error))
        step.sleep("nap", 5)
        return "unpaid"

    result = stage.finish(parent)

    assert result.result == "unpaid"
    assert charge.calls == 1 + retries
    assert len(caught) == 2


def test_an_exception_of_odd_arguments_is_raised_in_each_pass(app: Celery, stage: Stage) -> None:
    caught = []

    @app.task
    def parent() -> None:
        try:
            step.run("charge", Flaky(Odd(1, more="x")))
        except Exception as error:
            caught.append(type(error).__name__)
        step.sleep("nap", 5)

    assert stage.finish(parent).state == "SUCCESS"
    assert caught[0] == "Odd"
    assert len(caught) == 2


# -- sleeps -----------------------------------------------------------------------------------


def test_a_sleep_goes_on_when_it_is_over_and_not_before(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> str:
        step.sleep("a week", "7d")
        return "awake"

    result = stage.begin(parent)
    stage.wake(7 * 86_400 - 1)
    assert result.state == "WAITING"
    stage.wake(1)

    assert result.result == "awake"


def test_a_sleep_until_goes_on_at_that_moment(app: Celery, stage: Stage) -> None:
    opening = datetime.fromtimestamp(stage.now + 60, timezone(timedelta(hours=9)))

    @app.task
    def parent() -> str:
        step.sleep_until("opening", opening)
        return "awake"

    result = stage.begin(parent)
    stage.wake(59)
    assert result.state == "WAITING"
    stage.wake(1.001)

    assert result.result == "awake"


@pytest.mark.parametrize("duration", [0, -5, "0s", timedelta(-1)])
def test_a_sleep_that_is_over_already_does_not_park(
    app: Celery, stage: Stage, duration: Any
) -> None:
    @app.task
    def parent() -> str:
        step.sleep("nap", duration)
        step.sleep_until("past", datetime(1970, 1, 1, tzinfo=timezone.utc))
        return "awake"

    assert stage.begin(parent).result == "awake"


def test_a_moment_that_is_computed_anew_in_each_pass_is_slept_until_once(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent() -> str:
        step.sleep_until("nap", datetime.fromtimestamp(stage.now + 60, timezone.utc))
        return "awake"

    result = stage.begin(parent)
    stage.wake(61)

    assert result.result == "awake"


@pytest.mark.parametrize("call", ["sleep", "sleep_until", "wait"])
def test_a_bad_time_fails_the_step_by_name(app: Celery, stage: Stage, call: str) -> None:
    @app.task
    def parent() -> None:
        if call == "sleep":
            step.sleep("nap", "soon")
        elif call == "sleep_until":
            step.sleep_until("nap", datetime(2030, 1, 1))
        else:
            step.wait_for_event("nap", "event", timeout="soon")

    result = stage.begin(parent)

    assert isinstance(result.result, StepError)
    assert "step 'nap' cannot wait" in str(result.result)


def test_a_waiting_run_tells_what_it_waits_for(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.sleep("nap", 60)

    result = stage.begin(parent)

    until = datetime.fromtimestamp(stage.now + 60, timezone.utc).isoformat(timespec="milliseconds")
    assert result.state == "WAITING"
    assert result.info == {"step": "nap", "waiting_for": "sleep", "until": until}


def test_a_woken_run_is_seen_at_work(app: Celery, stage: Stage) -> None:
    states = []

    @app.task(bind=True)
    def parent(self: Task[Any, Any]) -> None:
        states.append(app.AsyncResult(self.request.id).state)
        step.sleep("nap", 5)

    stage.finish(parent)

    assert states == ["PENDING", "STARTED"]


# -- what a step defers -----------------------------------------------------------------------


@pytest.fixture
def shipped(stage: Stage) -> Any:
    """Run what is left, and answer the ids that were deferred."""

    def published(task: Any, **options: Any) -> list[str]:
        ids = list[str]()
        stage.begin(task, **options)
        for _ in range(9):
            messages = stage.worker.published()
            ids += ids_of(each for each in messages if "celery_defer" in each.headers)
            for message in messages:
                stage.worker.trace(message)
            if not messages and not stage.parked():
                return ids
            due = stage.extension.store.next_due()
            if due and not messages:
                stage.now = max(stage.now, due)
                stage.relay.tick(stage.now)
        raise AssertionError("no end")

    return published


def test_what_a_step_defers_is_published_once_when_the_run_succeeds(
    app: Celery, ship: Any, shipped: Any
) -> None:
    @app.task
    def parent() -> None:
        step.run("a", order)
        step.sleep("nap", 5)
        defer("in-body", ship, 2)
        step.sleep("nap", 5)

    def order() -> None:
        defer("in-step", ship, 1)

    assert sorted(shipped(parent)) == ["in-body", "in-step"]


def test_what_a_finished_step_has_deferred_survives_a_retry(
    app: Celery, ship: Any, shipped: Any
) -> None:
    body = Flaky(Declined(), Declined())

    @app.task(autoretry_for=(Declined,), default_retry_delay=0)
    def parent() -> None:
        if body.calls == 0:
            step.run("a", lambda: defer("in-step", ship, 1) and None)
            defer("in-body", ship, 2)
        body()

    assert shipped(parent) == ["in-step"]


def test_what_a_failed_step_has_deferred_is_dropped(app: Celery, ship: Any, shipped: Any) -> None:
    def order() -> None:
        defer("in-step", ship, 1)
        raise Declined

    @app.task
    def parent() -> None:
        defer("before", ship, 0)
        with suppress(Declined):
            step.run("a", order)
        defer("after", ship, 2)

    assert shipped(parent) == ["before", "after"]


def test_what_a_step_defers_in_its_last_try_counts(app: Celery, ship: Any, shipped: Any) -> None:
    flaky = Flaky(Declined(), Declined())

    def order() -> None:
        defer(f"try-{flaky.calls}", ship, 1)
        flaky()

    @app.task
    def parent() -> None:
        step.run("a", order, retries=5)

    assert shipped(parent) == ["try-2"]


def test_what_a_run_defers_is_dropped_if_it_fails(app: Celery, ship: Any, shipped: Any) -> None:
    @app.task
    def parent() -> None:
        step.run("a", lambda: defer("in-step", ship, 1) and None)
        step.sleep("nap", 5)
        raise Declined

    assert shipped(parent) == []


def test_what_waits_for_a_failure_is_published_after_a_wake_up(
    app: Celery, ship: Any, shipped: Any
) -> None:
    @app.task
    def parent() -> None:
        step.run("a", lambda: defer("alert", ship.with_options(when="failure"), 1) and None)
        step.sleep("nap", 5)
        raise Declined

    assert shipped(parent) == ["alert"]


def test_what_a_step_defers_now_is_published_once_and_linked(
    app: Celery, ship: Any, stage: Stage
) -> None:
    now = ship.with_options(when="now")

    @app.task
    def parent() -> str:
        id = step.run("a", lambda: defer("at-once", now, 1).id)
        step.sleep("nap", 5)
        return id

    result = stage.begin(parent)
    (message,) = stage.worker.published()
    stage.go_on()

    assert message.headers["id"] == result.result
    assert stage.worker.published() == []
    assert [child.id for child in result.children] == [result.result]


def test_a_call_that_a_step_aborts_stays_aborted(app: Celery, ship: Any, shipped: Any) -> None:
    @app.task
    def parent() -> None:
        step.run("a", lambda: defer("in-step", ship, 1).abort())
        step.sleep("nap", 5)
        defer("in-step", ship, 2)

    assert shipped(parent) == []


def test_the_payload_of_a_step_is_that_of_its_first_pass(
    app: Celery, ship: Any, stage: Stage
) -> None:
    numbers = iter([1, 2, 3])

    @app.task
    def parent() -> str:
        id = step.run("a", lambda: defer("in-step", ship, next(numbers)).id)
        step.sleep("nap", 5)
        return id

    result = stage.finish(parent)

    assert app.AsyncResult(result.result).result == 1


# -- where a step may stand -------------------------------------------------------------------


def test_steps_do_not_nest(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.run("outer", lambda: step.run("inner", int))

    result = stage.begin(parent)

    assert isinstance(result.result, StepError)
    assert "step 'inner' is inside step 'outer'" in str(result.result)
    assert result.result.step == "inner"


@pytest.mark.parametrize("kind", ["sleep", "until", "wait", "send", "invoke"])
def test_no_kind_of_step_nests(app: Celery, stage: Stage, ship: Any, kind: str) -> None:
    inner = {
        "sleep": lambda: step.sleep("inner", 5),
        "until": lambda: step.sleep_until("inner", datetime.now(timezone.utc)),
        "wait": lambda: step.wait_for_event("inner", "event", timeout=5),
        "send": lambda: step.send_event("inner", "event"),
        "invoke": lambda: step.invoke("inner", ship, 1),
    }

    @app.task
    def parent() -> None:
        step.run("outer", inner[kind])

    assert "steps do not nest" in str(stage.begin(parent).result)


def test_a_step_after_a_step_that_failed_by_nesting_is_no_nested_one(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent() -> int:
        with suppress(StepError):
            step.run("outer", lambda: step.run("inner", int))
        return step.run("next", int)

    assert stage.begin(parent).result == 0


def test_steps_may_stand_in_helpers_and_in_tasks_that_are_called_plainly(
    app: Celery, stage: Stage
) -> None:
    calls = []

    def helper(n: int) -> int:
        return step.run("helped", lambda: calls.append(n) or n)

    @app.task
    def inner(n: int) -> int:
        step.sleep("nap", 5)
        return helper(n)

    @app.task
    def parent() -> list[int]:
        return [helper(1), inner(2), helper(3)]

    assert stage.finish(parent).result == [1, 2, 3]
    assert calls == [1, 2, 3]


def test_a_class_based_task_has_steps(app: Celery, stage: Stage) -> None:
    class Parent(app.Task):  # type: ignore[name-defined,misc]
        name = "class-based"

        def __call__(self, n: int) -> int:
            return int(self.run(n)) + 1

        def run(self, n: int) -> int:
            step.sleep("nap", 5)
            return step.run("first", int, n)

    assert stage.finish(app.register_task(Parent()), 3).result == 4


def test_a_thread_with_the_runs_context_may_have_steps(app: Celery, stage: Stage) -> None:
    calls = []

    @app.task
    def parent() -> int:
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(
                copy_context().run, step.run, "first", lambda: calls.append(1) or 7
            )
            answer = first.result()
            threads.submit(copy_context().run, step.sleep, "nap", 5).result()
        return int(answer)

    assert stage.finish(parent).result == 7
    assert calls == [1]


def test_a_thread_that_parks_unseen_parks_the_run_all_the_same(app: Celery, stage: Stage) -> None:
    passes = []

    def nap() -> None:
        with suppress(BaseException):
            step.sleep("nap", 5)

    @app.task
    def parent() -> str:
        passes.append(1)
        thread = threading.Thread(target=copy_context().run, args=(nap,))
        thread.start()
        thread.join()
        return "awake"

    result = stage.begin(parent)
    assert result.state == "WAITING"
    stage.wake(5)

    assert result.result == "awake"
    assert len(passes) == 2


def test_a_thread_without_the_runs_context_has_no_steps(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(step.run, "first", int).result()

    assert isinstance(stage.begin(parent).result, NoRunError)


@pytest.mark.parametrize("raises", [False, True])
def test_a_body_that_swallows_everything_parks_all_the_same(
    app: Celery, stage: Stage, ship: Any, raises: bool
) -> None:
    @app.task
    def parent() -> str:
        try:
            step.sleep("nap", 5)
        except BaseException:
            if raises:
                raise ValueError from None
            with suppress(NoRunError):
                defer("swallowed", ship, 1)
        return "awake"

    result = stage.begin(parent)
    assert result.state == "WAITING"
    assert stage.worker.published() == []
    stage.wake(5)

    assert result.result == "awake"


def test_a_body_that_returns_in_finally_parks_all_the_same(app: Celery, stage: Stage) -> None:
    passes = []

    @app.task
    def parent() -> int:
        try:
            step.sleep("nap", 5)
        finally:
            passes.append(1)
            return len(passes)  # noqa: B012

    result = stage.begin(parent)
    assert result.state == "WAITING"
    stage.wake(5)

    assert result.result == 2


def test_a_body_that_has_parked_begins_no_further_step(app: Celery, stage: Stage) -> None:
    calls = []

    @app.task
    def parent() -> None:
        with suppress(BaseException):
            step.sleep("nap", 5)
        step.run("next", calls.append, 1)

    result = stage.begin(parent)
    assert calls == []
    stage.wake(5)

    assert result.state == "SUCCESS"
    assert calls == [1]


def test_a_context_manager_of_the_body_is_left_when_it_parks(app: Celery, stage: Stage) -> None:
    left = []

    @app.task
    def parent() -> None:
        try:
            step.sleep("nap", 5)
        except Exception:
            left.append("caught")
        finally:
            left.append("left")

    stage.finish(parent)

    assert left == ["left", "left"]


def test_arguments_without_json_cannot_be_parked(app: Celery, stage: Stage) -> None:
    @app.task
    def parent(thing: Any) -> None:
        step.sleep("nap", 5)

    request = {"id": "run", "task": parent.name, "args": (object(),), "kwargs": {}}
    from celery.app import trace  # noqa: PLC0415

    tracer = trace.build_tracer(parent.name, parent, app=app)
    tracer("run", (object(),), {}, {**request, "delivery_info": {}, "is_eager": False})

    assert "step 'nap' cannot park run run: its arguments are not JSON" in str(
        app.AsyncResult("run").result
    )


def test_arguments_of_celerys_json_come_back_as_they_were(app: Celery, stage: Stage) -> None:
    seen = []

    @app.task
    def parent(*args: Any, **kwargs: Any) -> None:
        seen.append((args, kwargs))
        step.sleep("nap", 5)

    at = datetime(2030, 1, 1, tzinfo=timezone.utc)
    message = (b"\xff", at, {"a": [at]}, 2**60)
    result = parent.apply_async(message, {"key": b"\x00"}, queue=stage.worker.apart)
    stage.worker.drain()
    stage.go_on()

    assert result.state == "SUCCESS"
    assert seen == [(message, {"key": b"\x00"})] * 2


# -- no store, eager --------------------------------------------------------------------------


def test_without_a_store_each_step_is_an_error_that_names_the_setting(
    app: Celery, worker: Worker, ship: Any
) -> None:
    steps = [
        lambda: step.run("one", int),
        lambda: step.sleep("one", 5),
        lambda: step.wait_for_event("one", "event", timeout=5),
        lambda: step.send_event("one", "event"),
        lambda: step.invoke("one", ship, 1),
    ]

    @app.task
    def parent(n: int) -> None:
        steps[n]()

    results = [worker.run(parent, n).result for n in range(len(steps))]

    assert [type(result) for result in results] == [StoreError] * len(steps)
    assert all("set defer_store_url = 'redis://" in str(result) for result in results)


def test_an_eager_run_has_steps(app: Celery, store: WatchedStore) -> None:
    calls = []

    @app.task
    def parent() -> list[int]:
        answers = [step.run("one", lambda: calls.append(1) or 7) for _ in range(2)]
        step.sleep("past", 0)
        return answers

    assert parent.apply().result == [7, 7]
    assert calls == [1, 1]
    assert store.asked == []


def test_an_eager_run_has_steps_without_a_store(app: Celery) -> None:
    @app.task
    def parent() -> int:
        return step.run("one", int)

    assert parent.apply().result == 0


def test_an_eager_run_raises_what_its_steps_raise(app: Celery, store: WatchedStore) -> None:
    assert store.asked == []
    caught = []

    @app.task
    def parent() -> int:
        for _ in range(2):
            try:
                step.run("one", Flaky(Declined("x")))
            except Declined as error:  # noqa: PERF203
                caught.append(error.args)
        with pytest.raises(StepError):
            step.run("two", Flaky(NonRetriable("x")), retries=2)
        return step.run("three", int)

    assert parent.apply().result == 0
    assert caught == [("x",), ("x",)]


@pytest.mark.parametrize("kind", ["sleep", "wait", "invoke", "retry"])
def test_an_eager_run_cannot_wait_and_says_so(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, kind: str
) -> None:
    waits = {
        "sleep": lambda: step.sleep("nap", 5),
        "wait": lambda: step.wait_for_event("nap", "event", timeout=5),
        "invoke": lambda: step.invoke("nap", ship, 1),
        "retry": lambda: step.run("nap", Flaky(Declined()), retries=2),
    }

    @app.task
    def parent() -> None:
        waits[kind]()

    result = parent.apply()

    assert "step 'nap' waits, which an eager run cannot" in str(result.result)
    assert store.asked == []
    assert worker.published() == []


def test_an_eager_run_inside_a_run_keeps_its_steps_apart(app: Celery, stage: Stage) -> None:
    @app.task
    def inner() -> int:
        return step.run("one", lambda: 2)

    @app.task
    def parent() -> list[int]:
        return [step.run("one", lambda: 1), inner.apply().result, step.run("one", lambda: 3)]

    assert stage.begin(parent).result == [1, 2, 3]


# -- the store is away ------------------------------------------------------------------------

ASKED: dict[str, set[str]] = {
    "run": {"recall", "remember"},
    "sleep": {"recall", "park"},
    "wait": {"recall", "park"},
    "send": {"recall", "emit", "remember"},
    "invoke": {"recall", "stage", "park"},
    "caught": {"remember"},
    "retried": {"park"},
}


@pytest.fixture
def play(ship: Any) -> Any:
    """Answer what begins a step of each kind; the flaky ones fail once in a test."""
    flaky, retried = Flaky(Declined()), Flaky(Declined(), Declined())

    def caught() -> None:
        with suppress(Declined):
            step.run("one", flaky)
        step.sleep("two", 5)

    kinds = {
        "run": lambda: step.run("one", lambda: 7),
        "sleep": lambda: step.sleep("one", 5),
        "wait": lambda: step.wait_for_event("one", "event", timeout=5),
        "send": lambda: step.send_event("one", "event"),
        "invoke": lambda: step.invoke("one", ship, 7),
        "caught": caught,
        "retried": lambda: step.run("one", retried, retries=2),
    }
    return lambda kind: kinds[kind]()


@pytest.mark.parametrize(
    ("kind", "method"), [(kind, method) for kind in ASKED for method in sorted(ASKED[kind])]
)
def test_a_run_whose_step_finds_no_store_is_tried_again(
    app: Celery, stage: Stage, store: WatchedStore, play: Any, kind: str, method: str
) -> None:
    errors = []

    @app.task
    def parent() -> str:
        try:
            play(kind)
        except StoreError as error:
            errors.append(str(error))
            raise
        return "done"

    store.away = {method}
    result = stage.begin(parent)
    assert result.state == "RETRY"
    store.away = set()
    stage.worker.drain()
    stage.go_on()

    assert result.result == "done"
    assert len(errors) == 1
    assert "finds no store" in errors[0]
    assert "step '" in errors[0]


def test_a_run_is_woken_though_the_record_cannot_be_settled(
    app: Celery, stage: Stage, store: WatchedStore
) -> None:
    passes = []

    @app.task
    def parent() -> str:
        passes.append(1)
        step.sleep("nap", 5)
        return "awake"

    result = stage.begin(parent)
    store.away = {"settle_all"}
    with suppress(ConnectionError):
        stage.later(5)
    (message,) = stage.worker.published() or [None]
    store.away = set()
    if message:
        stage.worker.trace(message)
    stage.wake(60)

    assert result.result == "awake"
    assert len(passes) == 2


# -- all is kept over a wake-up ---------------------------------------------------------------


def first_and_woken(stage: Stage, send: Any) -> tuple[Any, Any]:
    """Answer the message that *send* sends, and the one by which its run is woken."""
    send()
    (message,) = stage.worker.published()
    stage.worker.trace(message)
    (woken,) = stage.later(5)
    return message, woken


def told(message: Any) -> dict[str, Any]:
    """What of a message must be the same after a wake-up."""
    headers = {
        name: value
        for name, value in message.headers.items()
        if name not in {"celery_defer_wake", "expires", "eta", "origin"}
    }
    return {
        **{f"header {name}": value for name, value in headers.items()},
        **message.properties,
        **message.delivery_info,
        "payload": message.payload,
        "content": (message.content_type, message.content_encoding),
        "delivery_tag": None,
        "expiration": None,
        "reply_to": None,  # celery.backends.rpc alone asks for it
    }


OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "headers": {"headers": {"x-tenant": "a", "n": {"m": [1]}}},
    "priority": {"priority": 7},
    "priority 0": {"priority": 0},
    "shadow": {"shadow": "other name"},
    "limits": {"time_limit": 30, "soft_time_limit": 20},
    "retries": {"retries": 3},
    "ignore_result": {"ignore_result": True},
    "keeps result": {"ignore_result": False},
    "root": {"root_id": "root", "parent_id": "parent"},
    "group": {"group_id": "group", "group_index": 3},
    "expires": {"expires": 3_600},
    "countdown": {"countdown": 0},
    "nesting": {"replaced_task_nesting": 2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_woken_run_has_the_message_that_it_began_with(
    app: Celery, stage: Stage, options: dict[str, Any]
) -> None:
    @app.task
    def parent(*args: Any, **kwargs: Any) -> None:
        step.sleep("nap", 5)

    first, woken = first_and_woken(
        stage, lambda: parent.apply_async((1, "b"), {"c": [None]}, **options)
    )

    assert told(woken) == told(first)


def test_a_woken_run_has_its_callbacks(app: Celery, stage: Stage, ship: Any) -> None:
    @app.task
    def parent() -> int:
        step.sleep("nap", 5)
        return 1

    first, woken = first_and_woken(
        stage, lambda: parent.apply_async(link=[ship.s()], link_error=[ship.si(2)])
    )

    assert told(woken) == told(first)
    assert woken.payload[2]["callbacks"]
    assert woken.payload[2]["errbacks"]


def test_a_woken_run_has_its_stamps(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.sleep("nap", 5)

    def send() -> None:
        signature = parent.s()
        signature.stamp(tenant="a", region="eu")
        signature.apply_async()

    first, woken = first_and_woken(stage, send)

    assert set(woken.headers["stamped_headers"]) == set(first.headers["stamped_headers"])
    assert woken.headers["stamps"] == first.headers["stamps"]


@pytest.mark.parametrize(
    "declared",
    [
        {"ignore_result": True},
        {"time_limit": 30, "soft_time_limit": 20},
        {"compression": "zlib"},
    ],
    ids=lambda declared: next(iter(declared)),
)
def test_a_woken_run_goes_by_what_its_task_declares(
    app: Celery, stage: Stage, declared: dict[str, Any]
) -> None:
    @app.task(**declared)
    def parent() -> None:
        step.sleep("nap", 5)

    first, woken = first_and_woken(stage, parent.delay)

    assert told(woken) == told(first)


def test_a_woken_run_goes_to_the_queue_that_its_message_came_from(
    app: Celery, stage: Stage
) -> None:
    app.conf.task_routes = {"parent": {"queue": "routed"}}

    @app.task(name="parent")
    def parent() -> None:
        step.sleep("nap", 5)

    stage.begin(parent)
    (woken,) = stage.later(5)

    assert woken.delivery_info["routing_key"] == stage.worker.apart


def test_each_wake_up_of_many_keeps_all(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        for _ in range(3):
            step.sleep("nap", 5)

    parent.apply_async(headers={"x": "y"}, priority=4, shadow="s", time_limit=9)
    (first,) = stage.worker.published()
    message = first
    for _ in range(3):
        stage.worker.trace(message)
        (message,) = stage.later(5)
        assert told(message) == told(first)
    stage.worker.trace(message)

    assert app.AsyncResult(first.headers["id"]).state == "SUCCESS"


def test_the_expiry_of_a_message_does_not_hold_for_a_run_that_has_begun(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent() -> None:
        step.sleep("nap", 5)

    _, woken = first_and_woken(stage, lambda: parent.apply_async(expires=60))

    assert woken.headers["expires"] is None


def test_a_retry_after_a_wake_up_is_of_the_same_turn(app: Celery, stage: Stage) -> None:
    passes, first = [], Flaky()

    @app.task(bind=True)
    def parent(self: Task[Any, Any]) -> int:
        passes.append((self.request.retries, self.request.headers))
        answer = step.run("first", first)
        step.sleep("nap", 5)
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        step.sleep("nap", 5)
        return answer

    result = stage.finish(parent)

    assert result.result == 1
    assert first.calls == 1
    assert [retries for retries, _ in passes] == [0, 0, 1, 2, 2]


def test_a_deferred_run_that_wakes_is_still_a_deferred_run(app: Celery, stage: Stage) -> None:
    from celery_defer import deferred  # noqa: PLC0415

    runs = []

    @deferred
    @app.task(shared=False)
    def child(at: datetime) -> None:
        run = current_run()
        runs.append((run.parent and run.parent.defer_id, run.deferred_at, run.depth, at))
        step.sleep("nap", 5)

    @app.task
    def parent() -> None:
        defer("child", child, datetime(2030, 1, 1, tzinfo=timezone.utc))

    stage.begin(parent)
    stage.worker.drain()
    stage.go_on()

    assert len(runs) == 2
    assert runs[0] == runs[1]
    assert runs[0][0] == "child"
    assert type(runs[1][3]) is datetime


def test_a_run_that_waits_may_stand_in_a_chain(app: Celery, stage: Stage) -> None:
    @app.task
    def add(n: int, more: int) -> int:
        step.sleep("nap", 5)
        return n + more

    result = chain(add.s(1, 2), add.s(3), add.s(4)).apply_async()
    stage.worker.drain()
    stage.go_on()

    assert result.result == 10


def test_a_run_that_waits_may_stand_in_a_group(app: Celery, stage: Stage) -> None:
    @app.task
    def add(n: int, more: int) -> int:
        step.sleep("nap", 5)
        return n + more

    result = group(add.s(n, 1) for n in range(3)).apply_async()
    stage.worker.drain()
    assert not result.ready()
    stage.go_on()

    assert [each.result for each in result.results] == [1, 2, 3]


def test_a_callback_runs_once_when_the_run_has_ended(app: Celery, stage: Stage) -> None:
    called = []

    @app.task
    def note(n: int) -> None:
        called.append(n)

    @app.task
    def parent() -> int:
        step.sleep("nap", 5)
        step.sleep("nap", 5)
        return 7

    stage.begin(parent, link=[note.s()])
    assert called == []
    stage.go_on()

    assert called == [7]


def test_an_errback_runs_once_when_the_run_has_failed(app: Celery, stage: Stage) -> None:
    called = []

    @app.task
    def note(id: str) -> None:
        called.append(id)

    @app.task
    def parent() -> int:
        step.sleep("nap", 5)
        raise Declined

    result = stage.finish(parent, link_error=[note.s()])

    assert called == [result.id]


def test_a_part_of_a_chord_waits_no_longer_than_the_chord_is_kept(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def part() -> None:
        step.sleep("nap", "2d")

    @app.task
    def body(_: Any) -> None: ...

    chord([part.s(), part.s()], body.s()).apply_async()
    messages = [each for each in stage.worker.published() if each.headers["task"] == part.name]
    for message in messages:
        stage.worker.trace(message)

    results = [app.AsyncResult(message.headers["id"]).result for message in messages]
    assert all("inside a chord, whose count expires" in str(result) for result in results)


@pytest.mark.parametrize("ends", ["fails", "returns"])
def test_a_delivery_of_the_first_turn_that_comes_late_leaves_the_parked_run_alone(
    app: Celery, stage: Stage, ends: str
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
    [message] = stage.worker.published()
    stage.worker.trace(message)
    message.delivery_info["redelivered"] = True  # the worker died before it could acknowledge
    stage.worker.trace(message)
    assert result.state == "WAITING"
    stage.go_on()

    assert result.result == "awake"
    assert len(passes) == 3


def test_a_body_that_changes_its_arguments_is_given_the_same_ones_in_each_turn(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent(items: list[int], seen: dict[str, int]) -> list[int]:
        done = []
        while items:
            item = items.pop()
            seen[str(item)] = item
            done.append(step.run("do", int, item))
            step.sleep("rest", 1)
        return [*done, len(seen)]

    result = stage.finish(parent, [1, 2, 3], {"0": 0})

    assert result.result == [3, 2, 1, 4]


def test_a_late_delivery_does_not_tell_that_a_run_waits_which_has_ended(
    app: Celery, stage: Stage
) -> None:
    began = []

    def work() -> None:
        began.append(1)
        if len(began) == 1:  # meanwhile the broker gives the message to another worker
            message.delivery_info["redelivered"] = True
            stage.worker.trace(message)
            stage.go_on()

    @app.task(acks_late=True)
    def parent() -> None:
        step.run("work", work)
        step.sleep("nap", 5)
        raise Declined

    result = parent.delay()
    [message] = stage.worker.published()
    stage.worker.trace(message)

    assert (result.state, len(began)) == ("FAILURE", 2)


@pytest.mark.parametrize(
    "given", [{1: "a"}, (1, [2]), {"at": (1, 2)}],
    ids=["keys", "a tuple", "a tuple inside"],
)  # fmt: skip
def test_arguments_of_a_pickle_that_json_would_change_are_refused(
    app: Celery, stage: Stage, pickles: None, given: object
) -> None:
    app.conf.accept_content = ["json", "pickle"]

    @app.task(serializer="pickle")
    def parent(by: Any) -> None:
        step.sleep("nap", 5)

    result = stage.begin(parent, given)

    assert result.state == "FAILURE"
    with pytest.raises(StepError, match=r"step 'nap' cannot park run .*serializer 'json'"):
        result.get()


@pytest.mark.parametrize("retries", ["3", None, -1, True, 1.5])
def test_retries_that_are_no_number_are_refused_before_the_function_is_called(
    app: Celery, stage: Stage, retries: Any
) -> None:
    charge = Flaky()

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=retries)

    result = stage.begin(parent).result

    assert type(result) is StepError
    assert f"step 'charge': retries={retries!r} is no number of tries" in str(result)
    assert charge.calls == 0


async def fetch() -> None: ...


@pytest.mark.parametrize(
    ("make", "shown"), [(dict, "dict"), (lambda: None, "None"), (fetch, "coroutine")]
)
def test_what_is_no_function_is_refused_at_once(
    app: Celery, stage: Stage, make: Any, shown: str
) -> None:
    @app.task
    def parent() -> None:
        step.run("fetch", make(), retries=2)

    result = stage.begin(parent).result

    assert type(result) is StepError
    assert f"step 'fetch': {shown} is no function" in str(result)
    assert stage.parked() == 0


def test_a_run_sleeps_until_a_moment_of_the_next_hundred_years(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.sleep_until("nap", datetime.max.replace(tzinfo=timezone.utc))

    result = stage.begin(parent).result

    assert "step 'nap' cannot wait until" in str(result)
    assert stage.parked() == 0


def test_in_a_task_of_an_app_without_defer_there_is_no_run_and_the_error_names_the_app(
    ship: Any,
) -> None:
    plain, told = Celery("plain", set_as_current=False), []

    @plain.task(name="parent", shared=False)
    def parent() -> None:
        asks: list[Any] = [
            lambda: step.run("first", int),
            lambda: defer("ship", ship, 1),
            current_run,
        ]
        for ask in asks:
            with pytest.raises(NoRunError) as caught:
                ask()
            told.append(str(caught.value))

    parent.apply(throw=True)

    assert len(told) == 3
    assert all(
        "app 'plain' has no Defer(app), so its task parent has no run" in each for each in told
    )


def test_a_none_that_the_function_is_not_annotated_to_return_is_no_memo(
    app: Celery, stage: Stage
) -> None:
    called = []

    def count() -> int:
        called.append(1)
        return None if len(called) == 1 else 7  # type: ignore[return-value]

    @app.task(bind=True, max_retries=1)
    def parent(self: Task[Any, Any]) -> int:
        try:
            return step.run("count", count)
        except StepError as error:
            raise self.retry(exc=error, countdown=0) from None

    result = stage.finish(parent)
    stage.worker.drain()

    assert result.result == 7
