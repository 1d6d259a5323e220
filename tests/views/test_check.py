"""``celery -A app defer check``: what would not work, or could lose work."""

from __future__ import annotations

import json
from time import sleep
from typing import Any

import pytest
from celery import Celery, Task
from celery.bin.celery import celery
from click.testing import CliRunner, Result

import celery_defer
from celery_defer import Defer, deferred, step
from celery_defer.store import MemoryStore
from celery_defer.views.check import Problem, check


class Audited(Task):
    """A base class that looks at the run's arguments."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        print(args[0])
        return super().__call__(*args, **kwargs)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        print(retval, args[-1])


class Careful(Task):
    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        print(args, kwargs[0])


class Lasting(MemoryStore):
    """A store in memory that says nothing of what it will lose."""

    def risks(self) -> list[str]:
        return []


@pytest.fixture
def app(app: Celery) -> Celery:
    app._celery_defer.store = Lasting()
    return app


def problems_of(app: Celery) -> list[tuple[str, str, str]]:
    return [(each.level, each.subject, each.text) for each in check(app)]


def test_an_app_that_is_all_right_has_no_problems(app: Celery) -> None:
    @deferred(app)
    def ship(order_id: int) -> None: ...

    @app.task(acks_late=True, reject_on_worker_lost=True)
    def remind() -> None:
        step.sleep("a day", "1d")

    assert check(app) == []


def takes_an_order(order_id: int) -> None: ...


def test_a_base_class_that_reads_arguments_by_position_is_named(app: Celery) -> None:
    deferred(app, name="ship", base=Audited)(takes_an_order)
    deferred(app, name="bill", base=Careful)(takes_an_order)

    levels, subjects, texts = zip(*problems_of(app), strict=True)

    assert (levels, subjects) == (("warning", "warning"), ("ship", "ship"))
    assert texts[0].startswith("Audited.__call__ reads arguments by position")
    assert texts[1].startswith("Audited.on_success reads arguments by position")


def test_a_base_class_of_a_task_that_is_not_deferred_is_left_alone(app: Celery) -> None:
    app.task(name="plain", base=Audited)(takes_an_order)

    assert check(app) == []


def sleeps() -> None:
    step.sleep("a day", "1d")


def sleeps_until() -> None:
    celery_defer.step.sleep_until("noon", None)  # type: ignore[arg-type]


def waits() -> None:
    if celery_defer:
        step.wait_for_event("bought", "order/bought", timeout="7d")


def invokes() -> None:
    [step.invoke("bill", each) for each in ()]


def tries_again() -> None:
    step.run("charge", print, retries=3)


@pytest.mark.parametrize("body", [sleeps, sleeps_until, waits, invokes, tries_again])
def test_a_task_that_waits_and_is_acknowledged_early_is_named(app: Celery, body: Any) -> None:
    app.task(name="remind")(body)

    [(level, subject, text)] = problems_of(app)

    assert (level, subject) == ("warning", "remind")
    assert "set acks_late=True" in text


def test_a_late_acknowledgement_alone_is_not_enough(app: Celery) -> None:
    app.task(name="remind", acks_late=True)(sleeps)

    assert [subject for _, subject, _ in problems_of(app)] == ["remind"]


def runs_once() -> None:
    step.run("charge", print)


def sleeps_itself() -> None:
    sleep(1)


@pytest.mark.parametrize("body", [runs_once, sleeps_itself])
def test_a_task_that_does_not_wait_is_not(app: Celery, body: Any) -> None:
    app.task(name="remind")(body)

    assert check(app) == []


def test_acks_late_may_be_set_for_the_app(app: Celery) -> None:
    app.conf.task_acks_late = app.conf.task_reject_on_worker_lost = True
    app.task(name="remind")(sleeps)

    assert check(app) == []


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("task_always_eager", True, "runs are eager"),
        ("worker_pool", "aio.pool:Pool", "'aio.pool:Pool' is no pool of Celery's"),
        ("broker_url", "sqs://", "does not mark a message that it delivers again"),
    ],
)
def test_a_setting_that_does_not_go_with_it_is_named(
    app: Celery, setting: str, value: object, text: str
) -> None:
    app.conf[setting] = value

    [(level, subject, told)] = problems_of(app)

    assert (level, subject) == ("warning", setting)
    assert text in told


def test_an_app_without_a_store_is_told_what_to_set() -> None:
    app = Celery("check", broker="memory://", set_as_current=False)
    Defer(app)

    [(level, subject, text)] = problems_of(app)

    assert (level, subject) == ("warning", "store")
    assert "set defer_store_url" in text


def test_a_wrong_setting_is_an_error(app: Celery) -> None:
    del app._celery_defer.store
    app.conf.defer_gracee = 3

    [(level, subject, text)] = problems_of(app)

    assert (level, subject) == ("error", "settings")
    assert "did you mean defer_grace?" in text


def test_a_risk_of_the_store_is_named(app: Celery) -> None:
    app._celery_defer.store = MemoryStore()

    [(level, subject, text)] = problems_of(app)

    assert (level, subject, [text]) == ("warning", "store", MemoryStore().risks())


def test_a_store_that_does_not_reply_is_an_error() -> None:
    app = Celery("check", broker="memory://", set_as_current=False)
    app.conf.defer_store_url = "redis://localhost:1/0"
    Defer(app)

    [(level, subject, text)] = problems_of(app)

    assert (level, subject) == ("error", "store")
    assert text.startswith("it does not reply: ConnectionError")
    assert text.endswith(": start it, or correct its URL")


def run(app: Celery, monkeypatch: pytest.MonkeyPatch, *args: str) -> Result:
    monkeypatch.setattr("celery.bin.celery.find_app", lambda *_, **__: app)
    return CliRunner().invoke(celery, ["-A", "unit", "defer", "check", *args])


def test_the_command_prints_a_line_each(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    app.conf.task_always_eager = True

    result = run(app, monkeypatch)

    assert result.output.startswith("warning: task_always_eager: runs are eager")
    assert result.exit_code == 0


def test_the_command_says_that_there_are_none(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(app, monkeypatch, "--fail-level", "warning")

    assert (result.exit_code, result.output) == (0, "no problems\n")


def test_warnings_fail_the_command_if_it_is_told_so(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.task_always_eager = True

    assert run(app, monkeypatch, "--fail-level", "warning").exit_code == 1


def test_errors_fail_the_command(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    del app._celery_defer.store
    app.conf.defer_gracee = 3

    assert run(app, monkeypatch).exit_code == 1


def test_scripts_read_json(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    app.conf.task_always_eager = True

    printed = json.loads(run(app, monkeypatch, "--json").output)

    assert [Problem(**row) for row in printed["problems"]] == check(app)
    assert printed["facts"] == printed["values"] == {}


class Order:
    """No type of pydantic's."""


def invalidate_cache(order: Order) -> None: ...


def test_a_function_whose_parameters_cannot_be_checked_is_an_error(app: Celery) -> None:
    deferred(app.task(name="invalidate")(invalidate_cache))

    [(level, subject, text)] = problems_of(app)

    assert (level, subject) == ("error", "invalidate")
    assert "Order" in text
