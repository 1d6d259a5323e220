"""Tasks that wait: for an event, and for a run that they invoke."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from celery import Celery

from celery_defer import deferred, step


@pytest.fixture
def waiter(app: Celery) -> Any:
    """A task that waits for an event, and returns the data of the one that it receives."""

    @app.task(name="waiter")
    def waiter(match: Any = None, timeout: Any = 3_600) -> Any:
        event = step.wait_for_event("wait", "event", timeout=timeout, match=match)
        return event and event.data

    return waiter


@pytest.fixture
def make_invoice(app: Celery) -> Any:
    @deferred
    @app.task(name="make_invoice", shared=False, pydantic=False)
    def make_invoice(total: Decimal) -> dict[str, str]:
        return {"total": str(total)}

    return make_invoice


@pytest.fixture
def invoicing(app: Celery, make_invoice: Any) -> Any:
    """A task that invokes ``make_invoice``, and returns the invoice."""

    @app.task(name="invoicing")
    def invoicing(total: Any = "1.50") -> Any:
        return step.invoke("invoice", make_invoice, total=total)

    return invoicing
