"""How much memory the record of a run takes in a Redis of the bench's own."""

from __future__ import annotations

from time import time
from typing import Any
from uuid import uuid4

from pydantic_core import to_json

from celery_defer.ids import RunId
from celery_defer.model import Call, Options
from celery_defer.run import facts_of_calls
from celery_defer.settings import Settings
from celery_defer.store import Fact, RedisStore, RunState
from tests.support.redis import running

__all__ = ["bytes_of_record"]

_RUNS = 20_000
_KEEP = 3_600.0
_PARENT, _TASK = "shop.tasks.process_order", "shop.tasks.track_analytics"
_PAYLOAD = b'[[],{"order_id":"o-123456","user_id":"u-98765"}]'


def bytes_of_record(calls: int) -> int:
    """Return the bytes of a deferred run's record, beside its payload.

    Its parent has so many *calls*, and the run has a part of the parent's record.
    """
    with running() as server:
        client: Any = server.client(db=4)
        store = RedisStore(client)
        _finish(store, 1)  # the lists are there
        before = client.info("memory")["used_memory"]
        for _ in range(_RUNS // calls):
            _finish(store, calls)
        used = client.info("memory")["used_memory"] - before
    return round(used / _RUNS - len(_PAYLOAD))


def _finish(store: RedisStore, calls: int) -> None:
    """Write what the store gets to know of a parent, and of its calls from beginning to end."""
    parent, now = RunId(str(uuid4())), time()
    made = [Call(f"track-{n}", _TASK, _PAYLOAD, now, Options()) for n in range(calls)]
    told = to_json({"c": [call.id for call in made]})
    about = to_json({"t": _PARENT})
    of_calls = facts_of_calls(
        Settings(), made, RunState.PUBLISHED, parent=parent, root=parent, now=now
    )
    ended = Fact(parent, _PARENT, RunState.SUCCEEDED, _KEEP, about, told, attempt=1, started=0.1)
    store.note([ended, *of_calls])
    for state in (RunState.RUNNING, RunState.SUCCEEDED):
        store.note(
            [Fact(fact.id, _TASK, state, _KEEP, attempt=1, started=0.0) for fact in of_calls]
        )
