"""A deferred function and its contract are found on its task, be that lazy, cloned or bound."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any
from weakref import ref

import pytest
from celery import Celery

from celery_defer import Defer, NotDeferredError, defer, deferred
from celery_defer.contract import deferrable, find
from tests.support.inside import Worker, parent_of


def test_types_that_are_no_part_of_the_contract_need_not_be_known(
    app: Celery, worker: Worker
) -> None:
    def take(self: Any, value: int) -> Any:
        return value

    take.__annotations__.update({"self": "OnlyWhenChecking", "return": "OnlyWhenChecking"})
    bound = deferred(app.task(bind=True)(take))
    worker.run(parent_of(app, lambda: str(defer("take", bound, 7).id)))

    assert [result.get() for result in worker.drain()] == [7]


def test_a_task_that_runs_while_its_app_is_finalized_does_not_hang(app: Celery) -> None:
    ran: list[str] = []

    @deferred
    @app.task(name="noted")
    def noted() -> None:
        ran.append("noted")

    def on_finalized(sender: Any, **_: Any) -> None:
        sender.tasks["noted"].apply()

    app.on_after_finalize.connect(on_finalized)
    app.finalize()

    assert ran == ["noted"]


def test_a_lazy_task_of_another_app_is_left_asleep(app: Celery, worker: Worker) -> None:
    other = Celery("other", set_as_current=False)

    @deferred
    @other.task
    def asleep() -> None: ...

    assert find(object()) is None
    worker.run(parent_of(app, lambda: None))

    assert not asleep.__evaluated__()
    other.conf.task_ignore_result = True
    assert asleep.ignore_result


def test_a_clone_of_a_task_that_is_asleep_has_its_contract(app: Celery) -> None:
    other = Celery("other", set_as_current=False)

    @deferred
    @other.task(name="shared-by-two")
    def asleep(n: int) -> None: ...

    clone = app.tasks["shared-by-two"]

    assert clone.app is app
    assert deferrable(clone).contract.task == "shared-by-two"
    assert not asleep.__evaluated__()


@pytest.mark.parametrize("has_run", [False, True])
def test_an_app_that_nobody_uses_any_more_goes(has_run: bool) -> None:
    """As in a suite or behind a factory, which make many: each keeps connections."""

    def made() -> Any:
        app = Celery("passing", broker="memory://", set_as_current=False)
        Defer(app)

        @deferred
        @app.task(shared=False)
        def ship(n: int) -> None: ...

        @app.task(shared=False)
        def parent() -> Any:
            return defer("x", ship, 1).skipped

        if has_run:
            assert parent.apply().get() is None
        return ref(app)

    passing = made()
    gc.collect()

    assert passing() is None


def test_a_task_is_found_once_its_app_has_made_it_and_the_lazy_one_is_gone() -> None:
    app = Celery("passing", broker="memory://", set_as_current=False)
    deferred(app.task(name="passing-ship", shared=False)(send))
    app.finalize()
    gc.collect()

    assert deferrable(app.tasks["passing-ship"]).contract.task == "passing-ship"


def test_two_tasks_of_one_function_have_a_contract_each(app: Celery) -> None:
    def order(value: Any) -> None: ...

    plain = deferred(app.task(name="plain", shared=False)(order))
    by_model = deferred(schema=Order)(app.task(name="by-model", shared=False)(order))

    tasks = [app.tasks[each.name] for each in (plain, by_model)]
    assert [
        deferrable(task).contract.pack((), {name: 1})
        for task, name in zip(tasks, ("value", "n"), strict=True)
    ]


@dataclass
class Order:
    n: int


def test_the_repr_of_options_is_what_was_written(app: Celery) -> None:
    mail = deferred(app, name="mail")(send)

    assert repr(mail.with_options(countdown=5, queue="slow")) == (
        "mail.with_options(countdown=5.0, queue='slow')"
    )


def test_a_signature_is_refused_with_what_to_write(app: Celery) -> None:
    mail = deferred(app, name="mail")(send)

    with pytest.raises(NotDeferredError, match=r"defer\(id, mail, …\)"):
        deferrable(mail.s("x"))


def test_decorators_in_the_wrong_order_are_named(app: Celery) -> None:
    mail = app.task(name="outer")(deferred(app, name="inner")(send))

    with pytest.raises(NotDeferredError, match=r"outer has @deferred below @app\.task"):
        deferrable(mail)


def send(to: str) -> None: ...
