"""Messages of runs with limits, and what became of the runs."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

from celery import Celery

from celery_defer import defer
from celery_defer.ids import RunId
from tests.support.inside import WatchedStore, Worker, parent_of

Act = Callable[[int], Any]


def messages_of(app: Celery, worker: Worker, task: Any, *numbers: int) -> list[Any]:
    """Return the messages of runs of one parent, in order."""

    def parent() -> None:
        for n in numbers:
            defer(f"n{n}", task, n=n)

    worker.run(parent_of(app, parent))
    return worker.published()


def state_of(app: Celery, message: Any) -> str:
    return str(app.AsyncResult(message.headers["id"]).state)


def history_of(store: WatchedStore, message: Any) -> Any:
    (known,) = store.histories([RunId(message.headers["id"])])
    return known


def from_another_process(worker: Worker, message: Any) -> None:
    """Deliver a message to another process, which a thread stands for."""
    thread = Thread(target=worker.trace, args=[message])
    thread.start()
    thread.join()
