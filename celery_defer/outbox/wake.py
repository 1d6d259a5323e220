"""How a parked run is woken: its message is published again.

Its record stays until a worker has received the message, in case that is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from celery_defer import broker, guard
from celery_defer.broker import Delivery
from celery_defer.current import extension_of
from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.outbox import records
from celery_defer.outbox.messages import wake_up
from celery_defer.outbox.parked import HeldAt, ParkedRun
from celery_defer.run import signals
from celery_defer.store import Leased, Store

logger = guard.logger(__name__)

#: Seconds that the holder of a lease has to publish a parked run; then a relay does.
LEASE = 10.0
# Seconds in which a message that is published should be received; a relay publishes it again then.
# A queue may be long, so each time it waits twice as long.
_PATIENCE = 3_600.0
_MOST_DOUBLINGS = 5


def wake(
    app: Any,
    store: Store,
    leases: Sequence[Leased],
    runs: Mapping[RunId, ParkedRun] | None = None,
) -> Delivery:
    """Publish parked runs that were leased; *runs* has those whose record is already read.

    A relay takes a run that could not be published after the lease, and one whose message is not
    received in time.
    """
    messages, looks, parked = [], {}, {}
    for lease in leases:
        run = (runs or {}).get(lease.id) or _read(lease)
        if run is not None:
            messages.append(wake_up(run, f"{lease.token}.{lease.tries}"))
            looks[lease.id] = _look(app, run, lease)
            parked[lease.id] = run
    delivery = broker.send(app, messages, is_durable=True)
    if delivery.sent:
        now = extension_of(app).clock()
        sent = [(lease.id, lease.token) for lease in leases if lease.id in delivery.sent]
        # If this fails, they are published again, but a turn begins only once.
        with guard.logged(logger, "%d runs were woken, and will be woken again", len(sent)):
            store.expect([(id, token, now + looks[id]) for id, token in sent])
        for lease in leases:
            if lease.id in delivery.sent and (run := parked[lease.id]):
                late = lease.late
                signals.send_woken(
                    run.id, run.task, run.options, run.headers, turn=run.turn, late=late
                )
    unreadable = {lease.id for lease in leases} - {message.id for message in messages}
    refused = dict.fromkeys(unreadable, "its record cannot be read")
    return replace(delivery, refused={**delivery.refused, **refused})


def _look(app: Any, run: ParkedRun, lease: Leased) -> float:
    """Return in how many seconds a relay looks whether the run has been woken."""
    if run.held in (HeldAt.START, HeldAt.STEP):
        # The place that is reserved for it is given away then.
        lease_of_place: float = extension_of(app).settings.lease
        return min(2 * lease_of_place * 2.0**lease.tries, _PATIENCE)
    # A relay has leased a run that waits for another one many times.
    return patience(1 if run.child else lease.tries)


def patience(publications: int) -> float:
    """Return in how many seconds a message should have been received that is published again."""
    return _PATIENCE * 2.0 ** min(publications - 1, _MOST_DOUBLINGS)


def _read(lease: Leased) -> ParkedRun | None:
    try:
        record = records.unpack(lease.id, lease.body)
    except RecordError:  # the relay puts it into quarantine
        return None
    return record if isinstance(record, ParkedRun) else None
