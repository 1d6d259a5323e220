"""How a parked run is woken: its message is published again, and its record settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from celery_defer import broker, guard
from celery_defer.broker import Delivery
from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.outbox import records
from celery_defer.outbox.messages import wake_up
from celery_defer.outbox.parked import ParkedRun
from celery_defer.store import Leased, Store

logger = guard.logger(__name__)

#: Seconds that the holder of a lease has to publish a parked run; then a relay does.
LEASE = 10.0


def wake(
    app: Any,
    store: Store,
    leases: Sequence[Leased],
    runs: Mapping[RunId, ParkedRun] | None = None,
) -> Delivery:
    """Publish parked runs that were leased; *runs* has those whose record is already read.

    A run that could not be published stays in the outbox; a relay takes it after the lease.
    """
    messages = []
    for lease in leases:
        run = (runs or {}).get(lease.id) or _read(lease)
        if run is not None:
            messages.append(wake_up(run, f"{lease.token}.{lease.tries}"))
    delivery = broker.send(app, messages, is_durable=True)
    settled = [(lease.id, lease.token) for lease in leases if lease.id in delivery.sent]
    if settled:
        # If this fails, they are published again, but a turn begins only once.
        with guard.logged(logger, "%d runs that were woken cannot be settled", len(settled)):
            store.settle_all(settled)
    unreadable = {lease.id for lease in leases} - {message.id for message in messages}
    return replace(delivery, refused=delivery.refused | unreadable)


def _read(lease: Leased) -> ParkedRun | None:
    try:
        record = records.unpack(lease.id, lease.body)
    except RecordError:  # the relay puts it into quarantine
        return None
    return record if isinstance(record, ParkedRun) else None
