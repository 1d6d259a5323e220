"""Which queues, messages and apps are usual enough for a message on the pattern of another."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery
from kombu import Exchange, Queue

from celery_defer.broker.message import is_direct, is_usual, shows_as_usual


@pytest.mark.parametrize(("kind", "expected"), [("direct", True), ("topic", False)])
def test_only_a_direct_exchange_leads_into_one_queue_for_ever(kind: str, expected: bool) -> None:
    assert is_direct(Queue("q", Exchange("x", type=kind), routing_key="q")) is expected


def test_no_draft_is_made_of_a_message_with_a_property_that_we_do_not_know() -> None:
    assert is_usual({"correlation_id": "a", "priority": 3})
    assert not is_usual({"correlation_id": "a", "timestamp": 7})


def test_an_app_that_hides_arguments_is_heeded(app: Celery) -> None:
    assert shows_as_usual(app.amqp)
    assert not shows_as_usual(SimpleNamespace(argsrepr_maxsize=0, kwargsrepr_maxsize=1024))
