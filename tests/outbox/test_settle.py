"""A record that cannot be settled stays in the outbox, and holds back no other."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer.ids import RunId
from celery_defer.model import Outcome
from celery_defer.outbox import DeferredCalls, records
from celery_defer.outbox.relay import Relay
from celery_defer.store import MemoryStore


def test_a_record_that_cannot_be_seen_to_holds_back_no_other(app: Celery) -> None:
    class Stubborn(MemoryStore):
        def settle(self, id: RunId, token: str | None, **rest: Any) -> None:
            if id == "bad":
                raise ValueError("this one")
            super().settle(id, token, **rest)

    stubborn = Stubborn()
    for id in ("bad", "good"):
        stubborn.stage(RunId(id), "token", _dropped(id), due=1, keep=600)

    Relay(app, stubborn, app._celery_defer.settings).tick(2)

    assert stubborn.waiting() == 1
    assert stubborn.take(2.5, 99, 10) == []
    assert [taken.id for taken in stubborn.take(60, 99, 10)] == ["bad"]


def _dropped(id: str) -> bytes:
    parent = RunId(id)
    return records.pack(DeferredCalls(parent, parent, "none", 0, Outcome.SUCCESS, 0.0, {}, ()))
