"""Limits where they are declared: on top of a task, with an app, on a scorer."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import pytest
from celery import Celery, shared_task
from pydantic import BaseModel, ConfigDict, PlainSerializer, RootModel
from typing_extensions import NotRequired, TypedDict

from celery_defer import (
    Batch,
    CancelOn,
    Concurrency,
    Debounce,
    OptionError,
    RateLimit,
    Score,
    Singleton,
    Throttle,
    defer,
    deferred,
    scorer,
)
from celery_defer.contract import deferrable
from celery_defer.flow import Limits
from tests.support.inside import Worker, parent_of


class Customer(BaseModel):
    id: int


class Row(TypedDict):
    id: int
    note: NotRequired[str]


@dataclasses.dataclass
class Visit:
    page: str


class Order(BaseModel):
    id: int
    customer: Customer | None = None
    lines: list[Customer] = []
    row: Row | None = None
    visit: Visit | None = None
    extra: Any = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Wrapped(RootModel[dict[str, int]]):
    pass


class Served(BaseModel):
    id: Annotated[int, PlainSerializer(lambda number: {"of": number})]


def ship(order: Order, customer: Customer, text: str, wrapped: Wrapped, served: Served) -> None: ...


FIVE = Limits(concurrency=(Concurrency(5, "user_id"),))


def test_a_task_gets_its_limits_below_the_decorator(app: Celery) -> None:
    @deferred(concurrency=Concurrency(5, "user_id"))
    @app.task
    def remind(user_id: int) -> None: ...

    assert deferrable(remind).limits == FIVE


def test_a_shared_task_gets_its_limits(app: Celery) -> None:
    @deferred(concurrency=Concurrency(5, "user_id"))
    @shared_task
    def remind(user_id: int) -> None: ...

    assert deferrable(remind).limits == FIVE


def test_a_task_that_is_made_by_the_decorator_gets_its_limits(app: Celery) -> None:
    @deferred(app, concurrency=Concurrency(5, "user_id"), bind=True)
    def remind(self: Any, user_id: int) -> None: ...

    assert deferrable(remind).limits == FIVE


def test_a_scorer_gets_its_limits(app: Celery) -> None:
    @scorer(sample=0.5, concurrency=Concurrency(5, "user_id"))
    @app.task
    def happy(user_id: int) -> Score: ...

    assert deferrable(happy).limits == FIVE


def test_options_of_publishing_keep_the_limits(app: Celery) -> None:
    @deferred(app, concurrency=Concurrency(5, "user_id"))
    def remind(user_id: int) -> None: ...

    assert remind.with_options(countdown=5).limits == FIVE


def test_a_function_without_limits_has_none(app: Celery) -> None:
    @deferred(app, concurrency=None, rate_limit="10/m")
    def remind(user_id: int) -> None: ...

    assert deferrable(remind).limits is None


# Celery 5.7 deprecates `priority=` on a task, and still takes it.
@pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
def test_celerys_rate_limit_and_priority_stay_celerys(app: Celery) -> None:
    @deferred(app, rate_limit="10/m", priority=3)
    def counted_by_workers(user_id: int) -> None: ...

    @deferred(app, rate_limit=RateLimit(10, "1m"))
    def counted(user_id: int) -> None: ...

    assert (counted_by_workers.rate_limit, counted_by_workers.priority) == ("10/m", 3)
    assert counted.rate_limit is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"rate_limit": "10/m"}, r"@deferred: rate_limit='10/m' is Celery's.*ours is RateLimit"),
        ({"priority": 5}, r"@deferred: priority=5 is Celery's.*ours is Priority"),
        ({"concurency": 5}, "no option 'concurency'; did you mean 'concurrency'"),
        ({"concurrency": 5}, r"@deferred: concurrency=5 is no Concurrency: write Concurrency\(…\)"),
        ({"batch": Batch(5, "1s")}, "batch needs schema="),
        ({"batch": Batch(5, "1s"), "debounce": Debounce(1)}, "contradict each other"),
    ],
)
def test_an_option_is_refused_before_there_is_a_task(options: Any, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        deferred(**options)


def test_a_scorer_takes_no_batch() -> None:
    with pytest.raises(OptionError, match="@scorer takes no batch"):
        scorer(schema=Order, batch=Batch(5, "1s"))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "key",
    [
        *("nothing", "order.nothing", "order.customer.nothing", "order.row.nothing", "order.id.x"),
        *("order.visit.nothing", "customer.id.x", "text.x", "order.customer.0"),
    ],
)
def test_a_key_that_leads_to_no_value_is_refused(app: Celery, key: str) -> None:
    with pytest.raises(OptionError, match=f"ship: throttle has the key '{key}'"):
        deferred(app, throttle=Throttle(5, "1h", key=key))(ship)


@pytest.mark.parametrize(
    "key",
    [
        *("order", "order.id", "order.customer.id", "order.lines.0.id", "order.extra.what.ever"),
        *("order.row.note", "order.visit.page", "wrapped.any", "served.id.of", "customer"),
    ],
)
def test_a_key_that_may_lead_to_a_value_is_taken(app: Celery, key: str) -> None:
    task = deferred(app, throttle=Throttle(5, "1h", key=key))(ship)

    assert deferrable(task).limits is not None


@pytest.mark.parametrize(
    ("schema", "name"), [(Order, "id"), (Row, "note"), (Visit, "page"), (Open, "anything")]
)
def test_a_key_is_a_field_of_the_schema(app: Celery, schema: Any, name: str) -> None:
    def take(payload: Any) -> None: ...

    task = deferred(app, schema=schema, singleton=Singleton(name))(take)

    assert deferrable(task).limits == Limits(singleton=Singleton(name))


@pytest.mark.parametrize("schema", [Order, Row, Visit])
def test_a_key_that_is_no_field_of_the_schema_is_refused(app: Celery, schema: Any) -> None:
    def take(payload: Any) -> None: ...

    with pytest.raises(OptionError, match=r"singleton has the key 'payload'.*there are: "):
        deferred(app, schema=schema, singleton=Singleton("payload"))(take)


def test_a_key_of_a_match_is_checked_too(app: Celery) -> None:
    with pytest.raises(OptionError, match=r"cancel_on has the key 'order\.no'"):
        deferred(app, cancel_on=[CancelOn("stop", {"id": "order.no"})])(ship)


def test_a_key_of_any_of_the_arguments_is_taken(app: Celery) -> None:
    @deferred(app, concurrency=(Concurrency(5, "rest.size"), Concurrency(5, "more.0")))
    def pack(*more: int, **rest: str) -> None: ...

    assert deferrable(pack).limits is not None


def test_a_key_of_an_argument_whose_type_nobody_can_read_yet_is_taken(app: Celery) -> None:
    @deferred(app, concurrency=Concurrency(5, "order.id"))
    def pack(order: Later) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert pack.name


def test_a_shared_task_with_a_bad_key_is_refused_at_its_first_call(
    app: Celery, worker: Worker
) -> None:
    @deferred(concurrency=Concurrency(5, "nothing"))
    @shared_task
    def remember(user_id: int) -> None: ...

    skipped = worker.run(parent_of(app, lambda: defer("a", remember, user_id=7).skipped)).get()

    assert "remember: concurrency has the key 'nothing'" in skipped
