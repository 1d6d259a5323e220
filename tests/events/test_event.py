"""``Event``: a name and a type of data, and what is none."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from pydantic import BaseModel

from celery_defer import Event, EventError, send_event, step
from celery_defer.testing import Simulation


class Purchase(BaseModel):
    order: UUID
    total: Decimal
    at: datetime | None = None


purchase = Event("purchase/completed", Purchase)


@pytest.mark.parametrize("name", ["", "a\nb", None, 3, "\ud800"])
def test_a_name_is_a_line_of_text(sim: Simulation, app: Celery, name: Any) -> None:
    @app.task
    def parent() -> None:
        step.wait_for_event("wait", name, timeout=5)

    with pytest.raises(EventError, match="is no name of an event"):
        send_event(name)
    with pytest.raises(EventError, match="is no name of an event"):
        Event(name, int)
    assert isinstance(sim.run(parent).exception, EventError)


@pytest.mark.parametrize("data", [{"order": "x"}, None, 3, {}])
def test_data_that_is_not_of_the_events_type_is_not_sent(sim: Simulation, data: Any) -> None:
    with pytest.raises(EventError, match=r"event 'purchase/completed' \("):
        send_event(purchase, data)
    assert sim.events == []


def test_an_event_shows_its_name() -> None:
    assert repr(purchase) == "Event('purchase/completed')"


def test_a_class_in_place_of_an_event_is_an_error_that_tells_to_declare_one(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def parent() -> None:
        step.wait_for_event("wait", Purchase, timeout=5)  # type: ignore[call-overload]

    fix = r"Purchase is no name of an event: declare one, Event('name', Purchase)"
    assert fix in str(sim.run(parent).exception)
    with pytest.raises(EventError) as caught:
        send_event(Purchase)  # type: ignore[call-overload]
    assert fix in str(caught.value)


@pytest.mark.parametrize("schema", [5, "Unheard", list["Unheard"]])  # type: ignore[name-defined]  # noqa: F821
def test_what_is_no_type_for_pydantic_is_an_error_that_names_the_event(schema: Any) -> None:
    with pytest.raises(EventError, match=r"event 'purchase': .* is no type of data"):
        Event("purchase", schema)
