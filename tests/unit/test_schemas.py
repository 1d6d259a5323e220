"""What a wait compares is read by the type of its event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

from celery_defer.errors import EventError
from celery_defer.schemas import typed

ID = UUID("6f2f6c1e-6c0b-5d0e-9a51-0d2c1c9b7f3a")


class Line(BaseModel):
    sku: str
    cents: int


class Order(BaseModel):
    id: UUID
    day: date
    lines: list[Line]
    gift: Line | None = None
    extra: dict[str, Any] = {}


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


@dataclass
class Visit:
    page: str


class Click(TypedDict):
    x: int


@pytest.mark.parametrize(
    ("schema", "wanted", "found"),
    [
        (Order, {"id": ID}, {"id": str(ID)}),
        (Order, {"id": str(ID)}, {"id": str(ID)}),
        (Order, {"day": date(2030, 1, 2)}, {"day": "2030-01-02"}),
        (Order, {"lines.0.cents": "7"}, {"lines.0.cents": 7}),
        (Order, {"gift.sku": "a"}, {"gift.sku": "a"}),
        (Order, {"extra.anything": (1,)}, {"extra.anything": (1,)}),
        (Loose, {"whatever": 7}, {"whatever": 7}),
        (Visit, {"page": "home"}, {"page": "home"}),
        (Click, {"x": "3"}, {"x": 3}),
        (dict, {"x": "3"}, {"x": "3"}),
        (Order, None, None),
    ],
)
def test_a_value_is_what_the_event_will_have(
    schema: Any, wanted: dict[str, Any] | None, found: dict[str, Any] | None
) -> None:
    assert typed("order/placed", schema, wanted) == found


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"idd": ID}, r"match 'idd': an event 'order/placed' has no 'idd'; did you mean 'id'\?"),
        ({"gift.cent": 7}, "has no 'cent'; did you mean 'cents'"),
        ({"zzz": 7}, "has no 'zzz'; there are id, day, lines, gift, extra"),
        ({"lines.0.cents": "many"}, r"match 'lines.0.cents' of event 'order/placed' is 'many': "),
    ],
)
def test_what_no_event_can_have_is_an_error_at_the_wait(wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(EventError, match=told):
        typed("order/placed", Order, wanted)
