"""What a critical reader found: limits that strike in a send, odd backends, odd messages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery
from kombu import Exchange, Queue

from celery_defer import current_run, defer, deferred
from celery_defer.broker import capture as gathering
from celery_defer.broker import publish as broker
from celery_defer.broker.message import is_direct, is_usual, shows_as_usual
from celery_defer.ids import RunId
from celery_defer.model import Outcome, Record
from celery_defer.outbox import records as record
from celery_defer.outbox.relay import Relay
from celery_defer.store import MemoryStore
from tests.support.inside import WatchedStore, Worker


def test_a_soft_limit_that_strikes_in_a_send_is_no_doubt_about_the_broker() -> None:
    with pytest.raises(SoftTimeLimitExceeded), gathering._telling_of_doubt():
        raise SoftTimeLimitExceeded


def test_a_soft_limit_that_strikes_while_connecting_is_no_broker_that_is_away(app: Celery) -> None:
    class Hanging:
        connected = False
        transport_options: ClassVar[dict[str, Any]] = {}

        @property
        def default_channel(self) -> Any:
            raise SoftTimeLimitExceeded

    with pytest.raises(SoftTimeLimitExceeded):
        broker.connect(app, Hanging())


def test_the_result_of_a_parent_with_a_backend_of_its_own_is_read_there(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    other = Celery("other", backend="cache+memory://", set_as_current=False).backend
    other.key_prefix = other.task_keyprefix = b"elsewhere-"
    read = []

    @deferred
    @app.task(shared=False)
    def child() -> None:
        parent = current_run().parent
        assert parent is not None
        read.append(parent.result())

    @app.task(shared=False, backend=other)
    def parent() -> int:
        defer("child", child)
        return 7

    worker.run(parent)
    worker.drain()

    assert read == [7]


@pytest.mark.parametrize(("kind", "expected"), [("direct", True), ("topic", False)])
def test_only_a_direct_exchange_leads_into_one_queue_for_ever(kind: str, expected: bool) -> None:
    assert is_direct(Queue("q", Exchange("x", type=kind), routing_key="q")) is expected


def test_no_draft_is_made_of_a_message_with_a_property_that_we_do_not_know() -> None:
    assert is_usual({"correlation_id": "a", "priority": 3})
    assert not is_usual({"correlation_id": "a", "timestamp": 7})


def test_an_app_that_hides_arguments_is_heeded(app: Celery) -> None:
    assert shows_as_usual(app.amqp)
    assert not shows_as_usual(SimpleNamespace(argsrepr_maxsize=0, kwargsrepr_maxsize=1024))


def test_a_record_that_cannot_be_seen_to_holds_back_no_other(
    app: Celery, store: WatchedStore, worker: Worker
) -> None:
    class Stubborn(MemoryStore):
        def settle(self, id: RunId, token: str | None) -> None:
            if id == "bad":
                raise ValueError("this one")
            super().settle(id, token)

    stubborn = Stubborn()
    extension = app._celery_defer
    for id in ("bad", "good"):
        stubborn.stage(RunId(id), "token", _dropped(id), due=1, keep=600)()

    relay = Relay(app, stubborn, extension.settings)
    relay.tick(2)

    assert stubborn.waiting() == 1
    assert stubborn.take(2.5, 99, 10) == []
    assert [taken.id for taken in stubborn.take(60, 99, 10)] == ["bad"]


def _dropped(id: str) -> bytes:
    parent = RunId(id)
    return record.pack(Record(parent, parent, "none", 0, Outcome.SUCCESS, 0.0, {}, ()))
