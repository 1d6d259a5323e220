"""The outbox and the quarantine in the Deferred tab, and their buttons."""

from __future__ import annotations

from time import time

import pytest

from celery_defer.ids import RunId
from celery_defer.model import Call, Options, Outcome
from celery_defer.outbox import pack
from celery_defer.outbox.records import DeferredCalls
from celery_defer.store import Store
from tests.support.flower import Visitor

pytestmark = pytest.mark.worker

PAGE = "/deferred/outbox"
TOKEN, KEEP = "token", 600.0


@pytest.fixture
def record(records: Store) -> RunId:
    """A record of one call, which is due in an hour."""
    parent = RunId("block-7")
    call = Call("receipt", "shop.send_receipt", b"[[],{}]", time(), Options())
    calls = DeferredCalls(
        parent, parent, "shop.process_order", 0, Outcome.SUCCESS, time(), {}, (call,)
    )
    records.stage(parent, TOKEN, pack(calls), time() + 3_600, KEEP)
    return parent


@pytest.fixture
def quarantined(records: Store, record: RunId) -> RunId:
    records.quarantine(record, TOKEN, "no broker wants it", KEEP)
    return record


def test_a_record_is_shown_and_made_due(visitor: Visitor, records: Store, record: RunId) -> None:
    page = visitor.page(PAGE)

    visitor.press(PAGE, "retry")

    assert "shop.process_order" in page
    assert "receipt" in page
    assert "in 1 h" in page or "in 60 min" in page
    assert f"Record {record} is due now." in visitor.page(PAGE)
    assert records.waiting(time()) == 1


def test_a_record_in_quarantine_is_shown_with_its_reason_and_tried_again(
    visitor: Visitor, records: Store, quarantined: RunId
) -> None:
    page = visitor.page(PAGE)

    visitor.press(PAGE, "retry-quarantined")

    assert "no broker wants it" in page
    assert f"Record {quarantined} is back in the outbox." in visitor.page(PAGE)
    assert records.quarantined() == []
    assert records.waiting() == 1


def test_a_record_is_dropped_when_a_person_is_sure(
    visitor: Visitor, records: Store, quarantined: RunId
) -> None:
    asked = visitor.press(PAGE, "drop-quarantined")
    still_there = records.quarantined()
    visitor.submit(visitor.form(asked.text, "drop-quarantined"))

    assert "Drop this record? The calls in it are lost." in asked.text
    assert len(still_there) == 1
    assert records.quarantined() == []
    assert f"Record {quarantined} is dropped" in visitor.page(PAGE)


def test_a_record_that_another_person_has_dropped_is_said_to_be_gone(
    visitor: Visitor, records: Store, quarantined: RunId
) -> None:
    form = visitor.form(visitor.page(PAGE), "retry-quarantined")
    records.discard(quarantined)

    response = visitor.submit(form)

    assert response.status_code == 409
    assert "This page cannot be shown" not in response.text
    assert quarantined in response.text
