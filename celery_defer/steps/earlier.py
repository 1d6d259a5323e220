"""Events that were sent before any run had waited for their values."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic_core import from_json

from celery_defer.run import Memo
from celery_defer.store import Arrival, Look, SentEvent, Store, Subscription, digests, match

# Events that are read at once.
_PAGE = 500


def earlier_events(
    store: Store, wait: Subscription, arrival: Arrival | Look
) -> Iterator[SentEvent]:
    """Return the matching events that were sent before any run had waited for such values.

    Events sent before that time are kept by their name only; later ones by their values.
    """
    digest, since, skip = match(wait.name, None).digest, arrival.since, 0
    while page := store.past(wait.name, digest, since, arrival.known_since, skip=skip, limit=_PAGE):
        yield from (event for event in page if _digest(event, wait) == wait.digest)
        last = page[-1].at
        # By time, because old events go while this reads; several may have the same.
        skip = sum(event.at == last for event in page) + (skip if last == since else 0)
        since = last


def _digest(event: SentEvent, wait: Subscription) -> str:
    data = from_json(Memo.unpack(event.memo).result)["data"]
    return digests(wait.name, data, [wait.shape])[wait.shape]
