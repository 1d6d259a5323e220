"""Places of runs whose process was lost: the worker gives them back, before their leases end."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Thread
from typing import Any

from billiard.exceptions import TimeLimitExceeded
from celery.worker.request import Request

from celery_defer import guard, subject
from celery_defer.app.arrival import hold_of
from celery_defer.app.departure import PATIENCE
from celery_defer.app.place import token_of_process
from celery_defer.current import extension_of
from celery_defer.outbox import give_back
from celery_defer.run import Scope
from celery_defer.store import owner_of

logger = guard.logger(__name__)


def install() -> None:
    """Hook into celery.worker.request.Request.on_failure, in a worker's main process."""
    kind: Any = Request
    if not hasattr(kind.on_failure, "_defer_wrapped"):
        kind.on_failure = _wrap(kind.on_failure)


def _wrap(on_failure: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(on_failure)
    def wrapped(
        self: Any, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        try:
            return on_failure(self, exc_info, send_failed_event, return_ok)
        finally:
            # With *return_ok* the process has come to the end of the run, and gives back itself.
            if not return_ok and getattr(self.task, "_defer_limited", None) is not None:
                _give_back(self, exc_info.exception)

    wrapped._defer_wrapped = True  # type: ignore[attr-defined]
    return wrapped


def _give_back(request: Any, error: BaseException) -> None:
    """Give back what a process had, in a thread, as a store may hang."""
    with guard.logged(logger, "run %s: its places run out later", request.id):
        task, extension = request.task, extension_of(request.task.app)
        if extension is None or extension.store is None or not request.worker_pid:
            return
        facts = {**request.request_dict, "id": request.id}
        run = Scope(task, facts, extension.settings, extension.store)
        run.limited = task._defer_limited
        header = run.wake or run.header
        owner = owner_of(task.name, header.token if header else "")
        token = token_of_process(owner, request.hostname, request.worker_pid)
        hold = hold_of(run, token, request.args, request.kwargs)
        comes_back = _comes_back(task, error)
        give = {"ended": not comes_back, "idle": PATIENCE if comes_back else 0.0}
        args = (task.app, extension.store, hold)
        Thread(target=give_back, args=args, kwargs=give, daemon=True).start()
        logger.info(
            "run %s: its process is gone, and its places are given back",
            request.id,
            extra=subject.of(request.id),
        )


def _comes_back(task: Any, error: BaseException) -> bool:
    """Whether Celery lets the run's message come again, as its ``on_failure`` decides."""
    if isinstance(error, TimeLimitExceeded):
        acks = getattr(task, "acks_on_timeout", None)  # since Celery 5.7
        return task.acks_late and not (task.acks_on_failure_or_timeout if acks is None else acks)
    is_requeued = task.acks_late and task.reject_on_worker_lost
    return bool(is_requeued or getattr(task, "retry_on_worker_lost", False))
