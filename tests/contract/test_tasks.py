"""Rules 2.1, 2.5 to 2.7, 3.9, 4.3, 5.6: a deferred function is the Celery task that it was."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery, Task, shared_task
from celery.app import trace
from celery.exceptions import Ignore, Reject
from celery.local import PromiseProxy, Proxy
from pydantic import BaseModel

from celery_defer import (
    ContractError,
    NoRunError,
    OptionError,
    PayloadError,
    Run,
    current_run,
    defer,
    deferred,
)
from celery_defer.model import HEADER
from tests.support.inside import Worker


class Order(BaseModel):
    order_id: int


def a_function() -> None: ...


def parent_of(app: Celery, *calls: Any, **options: Any) -> Any:
    @app.task(name="parent", **options)
    def parent() -> None:
        for number, (function, kwargs) in enumerate(calls):
            defer(f"call-{number}", function, **kwargs)

    return parent


def test_2_1_the_decorator_answers_the_same_task(app: Celery) -> None:
    task = app.task(a_function)
    shared = shared_task(a_function)

    assert deferred(task) is task
    assert deferred(shared) is shared


def test_2_1_the_decorator_evaluates_no_lazy_task() -> None:
    app = Celery("unconfigured", autofinalize=False)

    @deferred(schema=Order)
    @app.task
    def lazy(order: Order) -> None: ...

    assert type(lazy) is PromiseProxy
    assert not lazy.__evaluated__()
    assert not app.finalized


def test_2_1_the_decorator_evaluates_no_shared_task() -> None:
    seen: list[str] = []
    proxy: Any = Proxy(lambda: seen.append("evaluated"))

    assert deferred(proxy) is proxy
    assert seen == []


@pytest.mark.parametrize("how", ["delay", "apply_async", "signature", "by name"])
def test_2_1_other_ways_to_call_send_the_same_message(
    how: str, app: Celery, worker: Worker
) -> None:
    def send(task: Any) -> dict[str, Any]:
        {
            "delay": lambda: task.delay({"order_id": 1}),
            "apply_async": lambda: task.apply_async(({"order_id": 1},)),
            "signature": lambda: task.s({"order_id": 1}).apply_async(),
            "by name": lambda: app.send_task(task.name, ({"order_id": 1},)),
        }[how]()
        (message,) = worker.published()
        own = {"id", "root_id", "task"}
        headers = {key: value for key, value in message.headers.items() if key not in own}
        return {"headers": headers, "payload": message.payload}

    @app.task
    def plain(order: Any) -> None: ...

    @deferred(schema=Order)
    @app.task
    def typed(order: Any) -> None: ...

    assert send(typed) == send(plain)


def test_2_1_a_run_that_was_not_deferred_gets_what_it_was_sent(app: Celery, worker: Worker) -> None:
    @deferred(schema=Order)
    @app.task
    def typed(order: Any) -> Any:
        return [type(order).__name__, current_run().parent]

    assert worker.run(typed, {"order_id": "not a number"}).get() == ["dict", None]


def test_2_1_a_direct_call_is_a_call_of_the_function(app: Celery) -> None:
    @deferred(schema=Order)
    @app.task
    def typed(order: Any) -> Any:
        return order

    assert typed("anything") == "anything"


def test_2_1_a_call_of_the_function_inside_its_run_is_one_too(app: Celery, worker: Worker) -> None:
    answers: list[Any] = []

    @deferred
    @app.task
    def typed(day: date) -> None:
        answers.append(day)
        if isinstance(day, date):
            typed("anything")

    worker.run(parent_of(app, (typed, {"day": date(2030, 1, 1)})))
    worker.drain()

    assert answers == [date(2030, 1, 1), "anything"]


def test_2_1_a_call_of_the_function_before_another_ones_body_is_one_too(
    app: Celery, worker: Worker
) -> None:
    answers: list[Any] = []

    @deferred
    @app.task
    def asked(day: date) -> None:
        answers.append(day)

    class Asking(Task):  # type: ignore[misc]
        def before_start(self, *_: Any) -> None:
            asked("anything")

    @deferred
    @app.task(base=Asking)
    def typed(day: date) -> None:
        answers.append(day)

    trace.build_tracer(asked.name, asked, app=app)  # as a worker does for each of its tasks
    worker.run(parent_of(app, (typed, {"day": date(2030, 1, 1)})))
    worker.drain()

    assert answers == ["anything", date(2030, 1, 1)]


class ClassBased(Task):  # type: ignore[misc]
    name = "class-based"

    def run(self, order: Order) -> Any:
        return [type(self).__name__, order.order_id]


class WithCall(Task):  # type: ignore[misc]
    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ["called", *self.run(*args, **kwargs)]


def kinds(app: Celery) -> dict[str, Any]:
    """A deferred function of each kind; each answers its name and the order's id."""

    @deferred(schema=Order)
    @app.task(bind=True)
    def bound(self: Any, order: Order) -> Any:
        return [self.name.rpartition(".")[2], order.order_id]

    @deferred(schema=Order)
    @shared_task(name=f"shared of {app.main}")
    def shared(order: Order) -> Any:
        return ["shared", order.order_id]

    @deferred(schema=Order)
    @app.task(pydantic=True)
    def validated(order: Order) -> Any:
        return ["validated", order.order_id]

    @deferred
    @app.task(base=WithCall)
    def based(order_id: int) -> Any:
        return ["based", order_id]

    @deferred(schema=Order)
    @app.task(lazy=False)
    def eager(order: Order) -> Any:
        return ["eager", order.order_id]

    @deferred(schema=Order)
    @app.task(autoretry_for=(KeyError,))
    def retried(order: Order) -> Any:
        return ["retried", order.order_id]

    @deferred(app, bind=True, rate_limit="100/s")
    def made_here(self: Any, order_id: int) -> Any:
        return [self.name.rpartition(".")[2], order_id]

    class_based = deferred(schema=Order)(app.register_task(ClassBased()))
    return {
        "bound": bound,
        "shared": shared,
        "validated": validated,
        "based": based,
        "eager": eager,
        "retried": retried,
        "made_here": made_here,
        "ClassBased": class_based,
    }


@pytest.mark.parametrize(
    "kind",
    ["bound", "shared", "validated", "based", "eager", "retried", "made_here", "ClassBased"],
)
def test_every_kind_of_task_may_be_deferred(kind: str, app: Celery, worker: Worker) -> None:
    function = kinds(app)[kind]

    worker.run(parent_of(app, (function, {"order_id": "7"})))
    (result,) = worker.drain()

    assert result.get() == (["called", kind, 7] if kind == "based" else [kind, 7])


@pytest.mark.parametrize("how", ["name", "instance"])
def test_a_task_found_by_name_may_be_deferred(how: str, app: Celery, worker: Worker) -> None:
    @deferred(schema=Order)
    @app.task(name="orders.ship")
    def ship(order: Order) -> int:
        return order.order_id

    function = app.tasks["orders.ship"] if how == "name" else ship._get_current_object()
    worker.run(parent_of(app, (function, {"order_id": 7})))

    assert [result.get() for result in worker.drain()] == [7]


def test_two_tasks_of_one_function_have_each_their_own_contract(
    app: Celery, worker: Worker
) -> None:
    def ship(order: Any) -> str:
        return type(order).__name__

    typed = deferred(schema=Order)(app.task(name="typed")(ship))
    plain = app.task(name="plain")(ship)

    worker.run(parent_of(app, (typed, {"order_id": 7}), (plain, {"order_id": 7})))

    assert [result.get() for result in worker.drain()] == ["Order"]


def test_an_app_without_defer_feels_nothing(app: Celery) -> None:
    other = Celery("other", set_as_current=False, broker="memory://")

    @other.task
    def parent() -> None:
        current_run()

    with pytest.raises(NoRunError):
        parent.apply(throw=True)
    assert "run" not in vars(parent._get_current_object())


def test_2_5_a_payload_that_does_not_fit_fails_the_run_unstarted(
    app: Celery, worker: Worker
) -> None:
    ran: list[Any] = []

    @deferred
    @app.task
    def ship(order_id: int, country: str) -> None:
        ran.append(order_id)

    header = {HEADER: {"id": "ship"}}
    app.send_task(ship.name, kwargs={"order_id": "x", "more": 1}, headers=header, parent_id="p")
    (result,) = worker.drain()

    assert result.state == "FAILURE"
    assert ran == []
    assert isinstance(result.result, PayloadError)
    assert [p.split(":")[0] for p in result.result.problems] == ["order_id", "country", "more"]


def test_2_5_celerys_retry_options_hold_for_such_a_payload(app: Celery, worker: Worker) -> None:
    @deferred
    @app.task(autoretry_for=(PayloadError,), retry_kwargs={"max_retries": 2, "countdown": 0})
    def ship(order_id: int) -> None: ...

    ship.apply_async(kwargs={"order_id": "x"}, headers={HEADER: {"id": "ship"}}, parent_id="p")

    assert len(worker.drain()) == 3


def test_a_retried_deferred_run_is_parsed_again_and_knows_its_parent(
    app: Celery, worker: Worker
) -> None:
    seen: list[Any] = []

    @deferred(schema=Order)
    @app.task(bind=True, max_retries=2)
    def ship(self: Any, order: Order) -> None:
        run = current_run()
        assert run.parent
        seen.append((order, run.attempt, run.parent.defer_id, run.id))
        if run.attempt < 3:
            raise self.retry(countdown=0)

    worker.run(parent_of(app, (ship, {"order_id": 7})))
    worker.drain()

    assert [entry[:3] for entry in seen] == [(Order(order_id=7), n, "call-0") for n in (1, 2, 3)]
    assert len({entry[3] for entry in seen}) == 1


def test_4_3_a_retry_throws_the_attempts_buffer_away(app: Celery, worker: Worker) -> None:
    @deferred
    @app.task
    def ship(attempt: int) -> int:
        return attempt

    @app.task(bind=True)
    def parent(self: Any) -> None:
        defer(f"ship-{current_run().attempt}", ship, attempt=current_run().attempt)
        if current_run().attempt == 1:
            raise self.retry(countdown=0)

    first = worker.run(parent)
    results = worker.drain()

    assert [result.get() for result in results if result.id != first.id] == [2]
    assert len(app.AsyncResult(first.id).children) == 1


@pytest.mark.parametrize("error", [ValueError(), Ignore(), Reject(requeue=False), SystemError()])
def test_4_1_a_parent_that_does_not_succeed_publishes_nothing(
    error: Any, app: Celery, worker: Worker
) -> None:
    @deferred
    @app.task
    def ship() -> None: ...

    @app.task
    def parent() -> None:
        defer("ship", ship)
        raise error

    result = worker.run(parent)

    assert worker.published() == []
    assert not result.children


def test_6_1_a_parent_whose_answer_cannot_be_stored_has_no_children(
    app: Celery, worker: Worker
) -> None:
    @deferred
    @app.task
    def ship() -> None: ...

    app.conf.result_backend = "file:///nowhere"  # has to encode, as a real one does

    @app.task
    def parent() -> Any:
        defer("ship", ship)
        return object()

    app.conf.result_backend = "cache+memory://"
    result = worker.run(parent)

    assert result.state == "FAILURE"
    assert not result.children
    assert worker.published() == []


def test_4_1_the_parents_result_can_be_read_by_what_it_deferred(
    app: Celery, worker: Worker
) -> None:
    @deferred
    @app.task
    def score() -> Any:
        run = current_run()
        assert run.parent
        return [run.parent.result(), run.parent.id, run.parent.task, run.root_id, run.parent.when]

    @app.task(name="answer")
    def answer() -> str:
        defer("score", score)
        return "42"

    result = worker.run(answer)
    (scored,) = worker.drain()

    assert scored.get() == ["42", result.id, "answer", result.id, "success"]


def test_6_3_the_run_in_progress_is_told(app: Celery, worker: Worker) -> None:
    seen: list[Run] = []

    @deferred
    @app.task
    def inner() -> None:
        seen.append(current_run())

    @deferred
    @app.task
    def outer() -> None:
        seen.append(current_run())
        defer("inner", inner)

    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    first = worker.run(parent_of(app, (outer.with_options(experiment="tone"), {})))
    worker.drain()
    one, two = seen

    assert one.parent
    assert (one.parent.id, one.parent.task, one.parent.defer_id) == (first.id, "parent", "call-0")
    assert one.parent.experiment == "tone"
    assert one.deferred_at
    assert before < one.deferred_at <= datetime.now(timezone.utc)
    assert two.parent
    assert (two.parent.id, two.root_id, two.parent.experiment) == (one.id, first.id, None)


@pytest.mark.parametrize(
    ("decorate", "error", "words"),
    [
        (lambda app: deferred(lambda: None), ContractError, "put @deferred on top of @app.task"),
        (lambda app: deferred(7), ContractError, "7 is not a Celery task"),
        (lambda app: deferred(schema=7), OptionError, "schema 7 is not a pydantic model"),
        (lambda app: deferred(schema=dict), OptionError, "not a pydantic model, a dataclass or"),
        (
            lambda app: deferred(schma=Order),
            OptionError,
            "no option 'schma'; did you mean 'schema'",
        ),
        (lambda app: deferred(queue="mail"), OptionError, "options of the task go to @app.task"),
        (lambda app: deferred(app, quue="mail"), OptionError, "'quue'; did you mean 'queue'"),
        (lambda app: deferred(deferred(app)(a_function)), ContractError, "is used twice"),
    ],
)
def test_2_7_what_the_decorator_cannot_use_is_refused(
    app: Celery, decorate: Any, error: Any, words: str
) -> None:
    with pytest.raises(error, match=words):
        decorate(app)


@pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
def test_options_of_celery_are_taken_with_an_app(app: Celery) -> None:
    @deferred(
        app, name="ship", queue="mail", autoretry_for=(KeyError,), rate_limit="1/s", bind=True
    )
    def ship(self: Any) -> None: ...

    assert (ship.name, ship.queue, ship.rate_limit) == ("ship", "mail", "1/s")
