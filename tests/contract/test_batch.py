"""A batched function: ``defer`` takes one payload, and the function takes a list of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated, Any

import pytest
from celery import Celery
from pydantic import BaseModel
from typing_extensions import TypedDict

from celery_defer import Batch, ContractError, PayloadError, defer, deferred
from celery_defer.contract import Contract
from celery_defer.encoding import read
from tests.support.inside import Worker, parent_of


class Visit(BaseModel):
    page: str
    on: date = date(2026, 1, 2)


class Sub(Visit):
    pass


@dataclasses.dataclass
class Click:
    x: int


class Row(TypedDict):
    x: int


def of_visits(visits: list[Visit]) -> None: ...


def by_keyword(*, visits: list[Visit]) -> None: ...


def of_clicks(clicks: list[Click]) -> None: ...


def of_rows(rows: list[Row]) -> None: ...


def takes(annotation: Any) -> Any:
    def take(visits: Any) -> None: ...

    take.__annotations__["visits"] = annotation
    return take


@pytest.mark.parametrize(
    ("function", "schema", "fields", "payload"),
    [
        (of_visits, Visit, {"page": "/"}, Visit(page="/")),
        (by_keyword, Visit, {"page": "/"}, Visit(page="/")),
        (of_clicks, Click, {"x": "7"}, Click(7)),
        (of_rows, Row, {"x": 7}, {"x": 7}),
    ],
)
def test_a_call_is_a_batch_of_one(function: Any, schema: Any, fields: Any, payload: Any) -> None:
    contract = Contract.of("write", function, schema, is_batch=True)

    args, kwargs = contract.unpack(*read(contract.pack((), fields)))

    assert [*args, *kwargs.values()] == [[payload]]


def test_a_message_of_many_is_read_as_a_list() -> None:
    contract = Contract.of("write", of_visits, Visit, is_batch=True)

    args, _ = contract.unpack([[{"page": "/"}, {"page": "/a", "on": "2026-03-04"}]], {})

    assert args == ([Visit(page="/"), Visit(page="/a", on=date(2026, 3, 4))],)


def test_what_is_wrong_with_a_payload_of_a_message_has_its_place() -> None:
    contract = Contract.of("write", of_visits, Visit, is_batch=True)

    with pytest.raises(PayloadError) as error:
        contract.unpack([[{"page": "/"}, {"page": 7}]], {})

    assert error.value.problems == ["1.page: Input should be a valid string"]


def test_a_message_that_was_sent_before_the_function_had_a_batch_is_a_batch_of_one() -> None:
    contract = Contract.of("write", of_visits, Visit, is_batch=True)

    args, _ = contract.unpack([{"page": "/"}], {})

    assert args == ([Visit(page="/")],)


def test_a_message_without_a_list_is_refused() -> None:
    contract = Contract.of("write", of_visits, Visit, is_batch=True)

    with pytest.raises(PayloadError):
        contract.unpack([7], {})
    with pytest.raises(PayloadError, match="does not carry one list of Visit"):
        contract.unpack([], {})


def test_defer_takes_the_fields_of_one_payload(app: Celery, worker: Worker) -> None:
    @deferred(app, schema=Visit, batch=Batch(100, "10s"))
    def write(visits: list[Visit]) -> None: ...

    def body() -> list[str | None]:
        wrong: Any = write
        return [
            defer("a", wrong, pages="/").skipped,
            defer("b", wrong, visits=[{"page": "/"}]).skipped,
            defer("c", wrong, [Visit(page="/")]).skipped,
        ]

    unknown, listed, positional = worker.run(parent_of(app, body)).get()

    assert "pages: Visit has no such field" in unknown
    assert "visits: Visit has no such field" in listed
    assert "takes the fields of Visit by name" in positional


@pytest.mark.parametrize(
    "annotation",
    [Visit, int, dict[str, Visit], set[Visit], list[int], Sequence[str], list[Sub], None, "int"],
)
def test_a_parameter_that_takes_no_list_of_the_schema_is_refused(
    app: Celery, annotation: Any
) -> None:
    with pytest.raises(ContractError, match=r"batch=.*annotate it as visits: list\[Visit\]"):
        deferred(app, schema=Visit, batch=Batch(100, "10s"))(takes(annotation))


@pytest.mark.parametrize(
    "annotation",
    [
        *(list[Visit], "list[Visit]", list, Sequence[Visit], Iterable[Visit], list[BaseModel]),
        *(list[Any], Any, object, list[Visit] | None, Annotated[list[Visit], "many"]),
        "OnlyWhenChecking",
    ],
)
def test_a_parameter_that_may_take_a_list_of_the_schema_is_not_refused(
    app: Celery, annotation: Any
) -> None:
    assert deferred(app, schema=Visit, batch=Batch(100, "10s"))(takes(annotation))
