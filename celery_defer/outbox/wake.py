"""How a parked run comes back: its message is published once more, and its record settled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery_defer.broker.publish import batch, connect, connection_errors
from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.outbox import parked
from celery_defer.outbox.parked import Parked
from celery_defer.outbox.wakeups import Wakeups
from celery_defer.store import Store, Taken

__all__ = ["LEASE", "Woken", "wake"]

logger = logging.getLogger(__name__)

#: Seconds within which who has leased a parked run has published it; else a relay does.
LEASE = 10.0


@dataclass(frozen=True, slots=True)
class Woken:
    """What came of it: how many runs were published, and those that no broker will take."""

    sent: int = 0
    refused: tuple[Taken, ...] = ()
    unsent: tuple[Taken, ...] = ()


def wake(
    app: Any,
    store: Store,
    taken: Sequence[Taken],
    *,
    tells: bool = True,
    read: Mapping[RunId, Parked] | None = None,
) -> Woken:
    """Publish parked runs that were leased; *read* has those whose record was read already.

    What could not go stays in the outbox, where a relay finds it when its lease has ended. With
    *tells* Flower is told that the runs wait no longer.
    """
    has = read or {}
    runs = [(each, has.get(each.id) or _readable(each)) for each in taken]
    refused = [each for each, run in runs if run is None]
    known = [(each, run) for each, run in runs if run is not None]
    if not known:
        return Woken(refused=tuple(refused))
    with app.producer_pool.acquire(block=True) as producer:
        errors = connection_errors(producer)
        try:
            connect(app, producer.connection)
            with batch(producer, is_durable=True) as opened:
                tell = _telling(app, producer.connection, opened.producer) if tells else _silent
                send = Wakeups(app, opened).publish
                bad = [each for each in known if not _is_gone(*each, tell, send, errors)]
        except errors as error:
            logger.error("%d parked runs wait for the broker: %r", len(known), error)
            return Woken(refused=tuple(refused), unsent=tuple(each for each, _ in known))
    sent = [each for each in known if each not in bad]
    _settle(store, [each for each, _ in sent])
    return Woken(len(sent), (*refused, *(each for each, _ in bad)))


def _settle(store: Store, sent: Sequence[Taken]) -> None:
    try:
        store.settle_all([(each.id, each.token) for each in sent])
    except Exception:  # they are published once more; a turn begins only once
        logger.exception("%d runs that were woken cannot be settled", len(sent))


def _is_gone(
    taken: Taken,
    run: Parked,
    tell: Callable[[Parked], None],
    send: Callable[[Parked, str], None],
    errors: tuple[type[BaseException], ...],
) -> bool:
    try:
        tell(run)
        send(run, f"{taken.token}.{taken.tries}")
    except errors:
        raise
    except Exception:
        logger.exception("parked run %s (%s) cannot be published", run.parked, run.task)
        return False
    return True


def _readable(taken: Taken) -> Parked | None:
    try:
        return parked.unpack(taken.id, taken.body)
    except RecordError:  # the relay puts it into quarantine
        return None


def _telling(app: Any, connection: Any, producer: Any) -> Callable[[Parked], None]:
    """Answer what lets Flower show again what Celery tells of a run.

    Any state but RETRY would be outranked by WAITING (celery.events.state.Task.event). The
    events go with the messages, and before them.
    """

    events = app.events.Dispatcher(connection, enabled=False, buffer_while_offline=False)

    def tell(run: Parked) -> None:
        events.hostname = run.hostname or events.hostname
        events.publish("task-retried", {"uuid": run.parked}, producer)

    return tell


def _silent(run: Parked) -> None:
    pass
