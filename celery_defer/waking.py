"""How a parked run comes back: its message is published once more, and its record settled."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from celery_defer import parked
from celery_defer.batch import batch
from celery_defer.broker import connect, connection_errors
from celery_defer.errors import RecordError
from celery_defer.parked import WAKE, Parked, Wake
from celery_defer.store import Store, Taken

__all__ = ["LEASE", "wake"]

logger = logging.getLogger(__name__)

#: Seconds within which who has leased a parked run has published it; else a relay does.
LEASE = 10.0

# Parameters of celery.app.amqp.AMQP.as_task_v2 that travel in the message; what else Celery
# retries a run with says where the message goes.
_CARRIED = frozenset(
    {"root_id", "parent_id", "group_id", "group_index", "shadow", "chord", "chain", "retries"}
    | {"soft_time_limit", "time_limit", "reply_to", "replaced_task_nesting", "origin"}
    | {"ignore_result", "stamped_headers"}
)


def wake(app: Any, store: Store, taken: Sequence[Taken], *, tells: bool = True) -> int:
    """Publish parked runs that were leased; answer how many went.

    What could not go stays in the outbox, where a relay finds it when its lease has ended. With
    *tells* Flower is told that the runs wait no longer.
    """
    runs = [(each, run) for each in taken if (run := _readable(each))]
    if not runs:
        return 0
    with app.producer_pool.acquire(block=True) as producer:
        try:
            connect(app, producer.connection)
            if tells:
                _tell(app, (run for _, run in runs))
            with batch(producer, is_durable=True) as opened:
                for each, run in runs:
                    _publish(app, opened.producer, run, f"{each.token}.{each.tries}")
        except connection_errors(producer) as error:
            logger.error("%d parked runs wait for the broker: %r", len(runs), error)
            return 0
    store.settle_all([(each.id, each.token) for each, _ in runs])
    return len(runs)


def _readable(taken: Taken) -> Parked | None:
    try:
        return parked.unpack(taken.body)
    except RecordError:  # the relay puts it into quarantine
        return None


def _publish(app: Any, producer: Any, run: Parked, token: str) -> None:
    """Do what celery.app.task.Task.apply_async does for a retry, and leave out whose task it is.

    That one would make the run a child of the task in progress here.
    """
    amqp, options = app.amqp, dict(run.options)
    carried = {name: options.pop(name) for name in _CARRIED & options.keys()}
    stamps = {name: options.pop(name, None) for name in carried.get("stamped_headers") or ()}
    message = amqp.create_task_message(
        run.parked,
        run.task,
        list(run.args),
        dict(run.kwargs),
        callbacks=options.pop("link", None),
        errbacks=options.pop("link_error", None),
        **carried,
        **stamps,
    )
    headers = {**run.headers, WAKE: Wake(run.turn, token).seal()}
    route = amqp.router.route(options, run.task, run.args, run.kwargs)
    amqp.send_task_message(producer, run.task, message, headers=headers, retry=False, **route)


def _tell(app: Any, runs: Iterable[Parked]) -> None:
    """Let Flower show again what Celery tells of a run: any state but RETRY would outrank that.

    celery.events.state.Task.event, celery.states.precedence.
    """
    try:
        for run in runs:
            with app.events.default_dispatcher(hostname=run.hostname) as events:
                events.send("task-retried", uuid=run.parked, exception="its wait is over")
    except Exception:
        logger.exception("no event tells that parked runs go on")
