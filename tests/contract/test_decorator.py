"""What ``@deferred`` refuses where it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sized
from typing import Annotated, Any, Literal, TypeVar

import pytest
from celery import Celery, Task, shared_task
from pydantic import BaseModel, RootModel
from typing_extensions import TypedDict

from celery_defer import ContractError, OptionError, defer, deferred
from tests.support.inside import Worker, parent_of


class Numbers(RootModel[list[int]]):
    pass


class Base(BaseModel):
    order_id: int


class Order(Base):
    pass


class Row(TypedDict):
    order_id: int


class Asyncio(Task):  # type: ignore[misc]
    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(self.run(*args, **kwargs))


S = TypeVar("S")


async def fetch(order_id: int) -> None: ...


async def pages(order_id: int) -> Any:
    yield order_id


def rows(order_id: int) -> Any:
    yield order_id


def test_a_schema_without_fields_is_refused() -> None:
    with pytest.raises(OptionError, match="Numbers"):
        deferred(schema=Numbers)


@pytest.mark.parametrize("function", [fetch, pages, rows])
@pytest.mark.parametrize(
    "options", [{}, {"lazy": False}, {"bind": True}, {"autoretry_for": (KeyError,)}]
)
@pytest.mark.parametrize("on_top", [True, False])
def test_a_function_whose_body_would_never_run_is_refused(
    app: Celery, function: Any, options: Any, on_top: bool
) -> None:
    with pytest.raises(ContractError, match="whose body Celery never runs"):
        deferred(app.task(**options)(function)) if on_top else deferred(app, **options)(function)


def test_an_async_function_that_its_base_class_awaits_is_taken(app: Celery, worker: Worker) -> None:
    @deferred
    @app.task(base=Asyncio)
    async def fetched(order_id: int) -> int:
        return order_id

    worker.run(parent_of(app, lambda: str(defer("fetch", fetched, order_id=7))))

    assert [result.get() for result in worker.drain()] == [7]


def test_a_shared_async_function_is_refused_at_its_first_call(app: Celery, worker: Worker) -> None:
    shared = deferred(shared_task(name=f"shared of {app.main}")(fetch))

    reason = worker.run(parent_of(app, lambda: defer("fetch", shared, order_id=7).skipped)).get()

    assert "is an async def, whose body Celery never runs" in reason


def takes(annotation: Any) -> Any:
    def take(order: Any) -> None: ...

    take.__annotations__["order"] = annotation
    return take


@pytest.mark.parametrize(
    "annotation",
    [
        *(int, str, "int", dict, Row, int | None, Numbers, None),
        *(list[Order], dict[str, Any], type[Order], Annotated[int, "a number"]),
    ],
)
def test_a_schema_that_the_parameter_does_not_take_is_refused(app: Celery, annotation: Any) -> None:
    with pytest.raises(ContractError, match=r"has the schema Order, but its parameter is order"):
        deferred(schema=Order)(app.task(takes(annotation)))


@pytest.mark.parametrize(
    "annotation",
    [
        *(Order, Base, object, Any, S, Order | None, "OnlyWhenChecking", "Order", Literal[7]),
        *(Annotated[Order, "a model"], Sized | Base),
    ],
)
def test_a_schema_that_the_parameter_may_take_is_not_refused(app: Celery, annotation: Any) -> None:
    assert deferred(schema=Order)(app.task(takes(annotation)))


@pytest.mark.parametrize("annotation", [Row, dict, dict[str, Any], Mapping, Mapping[str, Any]])
def test_a_typed_dict_is_taken_as_any_mapping(app: Celery, annotation: Any) -> None:
    assert deferred(schema=Row)(app.task(takes(annotation)))


def test_a_schema_over_several_parameters_is_refused(app: Celery) -> None:
    def take(self: Any, a: int, b: int) -> None: ...

    with pytest.raises(ContractError, match="one payload parameter; it has: a, b"):
        deferred(app, schema=Order, bind=True)(take)
