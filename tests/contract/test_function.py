"""A deferred function and its contract are found on its task, be that lazy, cloned or bound."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import NotDeferredError, defer, deferred
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
