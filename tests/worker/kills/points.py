"""Where a worker under test may be killed, and how: only through what is public.

The hash ``kill:<run id>`` in the result backend's Redis names points, and who dies there: the
"child" of the pool that is at this point, or the whole "worker". Each kill happens once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery import current_app, current_task, signals
from celery.worker.request import Request
from kombu.message import Message

from celery_defer import run_id
from celery_defer.current import extension_of
from celery_defer.outbox import fanout, relay
from celery_defer.run.headers import WAKE
from celery_defer.store import Store
from tests.support.lost_children import see_at_once

__all__ = ["count", "installed", "reach"]

DEFERRED = {"deferred-before", "deferred-body", "deferred-after", "deferred-stored"}
#: The worker's main process: what a pool forks inherits it.
MAIN = os.getpid()


@contextmanager
def installed(app: Any) -> Iterator[None]:
    """Put the points round what ``Defer(app)`` in the block puts into Celery."""
    signals.task_success.connect(_on_stored, weak=False)
    yield
    signals.task_success.connect(_on_published, weak=False)
    signals.task_prerun.connect(_on_prerun, weak=False)
    signals.task_received.connect(_on_received, weak=False)
    signals.after_task_publish.connect(_on_sent, weak=False)
    extension: Any = extension_of(app)
    extension.store = _Store(extension.store)
    relay.LEASE = fanout.LEASE = 0.5
    see_at_once()
    _tell_when_accepted()


def reach(point: str, run: str) -> None:
    """Die here, if the test has said so."""
    redis, key = _redis(), f"kill:{run}"
    who = redis.hget(key, point)
    if who is None:
        return
    # An early acknowledgement is not quite before the body; see `_tell_when_accepted`.
    for _ in range(2 if point in _IN_SECOND_MESSAGE else 1):
        assert redis.blpop([f"accepted:{run}"], timeout=10)
    if point in _AFTER_PUBLISHING:
        _wait_until_received(run)
    if point in DEFERRED:
        # So is a late one not quite before the next body.
        assert redis.blpop([f"acknowledged:{run_id(current_task.request.parent_id, 'a')}"], 10)
    redis.hdel(key, point)
    if who == b"worker":
        os.kill(MAIN, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


# kombu takes a message from Redis first, and notes then that it has it: a worker that is killed
# in between loses the message, whoever sent it. That is not what is tried here.
_AFTER_PUBLISHING = {"published", "cleared", *DEFERRED}
if os.environ["KILLS_RIDES"] == "1":  # the messages go with the result
    _AFTER_PUBLISHING.add("stored")
_IN_SECOND_MESSAGE = {"resumed-body", "resumed-after", "resumed-stored"}


def _wait_until_received(run: str) -> None:
    """Wait until the worker has what the parent, which is *run* or its parent, deferred."""
    parent = current_task.request.parent_id or run
    deadline = time.monotonic() + 10
    while int(_redis().get(f"received:{parent}") or 0) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _reach_woken(point: str, run: str, woken: str) -> None:
    """Die here, if the test has said so of *run*, once the worker has the wake-up of *woken*."""
    if not _redis().hexists(f"kill:{run}", point):
        return
    deadline = time.monotonic() + 10
    while not _redis().exists(f"woken:{woken}"):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    reach(point, run)


def count(name: str, run: str) -> None:
    """Count, where a test can read it, that *name* happened to *run*."""
    _redis().incr(f"{name}:{run}")


def _redis() -> Any:
    return current_app.backend.client


# -- Celery's signals -------------------------------------------------------------------------


def _on_stored(sender: Any, **_: Any) -> None:
    """SUCCESS is stored; this receiver comes before the package's."""
    reach("stored", sender.request.id)
    reach("deferred-stored", sender.request.id)
    reach("resumed-stored", sender.request.id)


def _on_published(sender: Any, **_: Any) -> None:
    """All is done: this receiver comes after the package's."""
    reach("cleared", sender.request.id)


def _on_prerun(task_id: str, **_: Any) -> None:
    """The run is claimed."""
    count("began", task_id)
    reach("deferred-before", task_id)


def _on_received(request: Any, **_: Any) -> None:
    if WAKE in request.request_dict:
        count("woken", request.id)
    if request.parent_id:
        count("received", request.parent_id)


def _on_sent(headers: Mapping[str, Any], **_: Any) -> None:
    """The first message is with the transport, the next is not.

    Where messages go with the result, they are made and nothing is sent.
    """
    if headers.get("parent_id"):
        reach("staged", headers["parent_id"])
        reach("relay-middle" if _in_relay() else "middle", headers["parent_id"])


def _in_relay() -> bool:
    return threading.current_thread().name == "celery-defer-relay"


# -- the store ------------------------------------------------------------------------------


class _Store:
    """A store, with a point before or after what it does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def stage(self, id: Any, *args: Any, **kwargs: Any) -> bool:
        is_staged = self._store.stage(id, *args, **kwargs)
        reach("staged", id)
        return is_staged

    def take(self, *args: Any) -> Any:
        taken = self._store.take(*args)
        for each in taken:
            reach("relay-taken", each.id)
        return taken

    def remember(self, id: Any, *args: Any) -> Any:
        reach("step-unkept", id)
        answer = self._store.remember(id, *args)
        reach("step-kept", id)
        return answer

    def park(self, id: Any, *args: Any, **kwargs: Any) -> Any:
        reach("unparked", id)
        answer = self._store.park(id, *args, **kwargs)
        reach("parked", id)
        return answer

    def emit(self, *args: Any, **kwargs: Any) -> Any:
        answer = self._store.emit(*args, **kwargs)
        reach("event-emitted", current_task.request.id)
        return answer

    def expect(self, runs: Any) -> None:
        for id, _, _ in runs:
            if _in_relay():
                _reach_woken("relay-published", id, id)
            else:
                _reach_woken("event-published", current_task.request.id, id)
        self._store.expect(runs)

    def settle(self, id: Any, token: str, **kwargs: Any) -> None:
        reach("relay-published" if _in_relay() else "published", id)
        self._store.settle(id, token, **kwargs)


# -- patience ---------------------------------------------------------------------------------


def _tell_when_accepted() -> None:
    """Tell a run when the main process has acknowledged it, if it does so early.

    The pool's process or thread goes on meanwhile: what it has acknowledged by
    celery.worker.consumer.consumer.Consumer.call_soon is done when the loop comes to it.
    """
    on_accepted, ack = Request.on_accepted, Message.ack

    def accepting(self: Any, *args: Any) -> None:
        on_accepted(self, *args)
        if self.task.acks_late:
            _accepted(self.id)

    def acknowledging(self: Any, *args: Any, **kwargs: Any) -> None:
        ack(self, *args, **kwargs)
        _redis().rpush(f"acknowledged:{self.headers['id']}", 1)
        if not current_app.tasks[self.headers["task"]].acks_late:
            _accepted(self.headers["id"])

    Request.on_accepted, Message.ack = accepting, acknowledging


def _accepted(run: str) -> None:
    if _redis().exists(f"kill:{run}"):
        _redis().rpush(f"accepted:{run}", 1)
