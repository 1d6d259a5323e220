"""Short forms of the calls that the contract makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store import (
    NO_SHAPE,
    Arrival,
    BatchKind,
    Emitted,
    Fact,
    Leased,
    Member,
    Parking,
    SentEvent,
    Store,
    Subscription,
    Verdict,
)

KEEP = 600.0
UNTIL = 5_000.0
RUN = RunId("run")
BY_NAME = {NO_SHAPE: "by-name"}
SHAPE = '["user.id"]'
PARKED = Arrival(Verdict.PARKED)
NOBODY = Emitted()


def stage(store: Store, id: str, due: float, token: str = "token", body: bytes = b"body") -> None:
    """Stage a record."""
    store.stage(RunId(id), token, body, due, KEEP)


def park(
    store: Store,
    id: str = "run",
    *,
    turn: int = 0,
    step: str = "wait",
    note: bytes = b"note",
    token: str = "token",
    due: float = 500,
    now: float = 10,
    wait: Subscription | None = None,
    early: Sequence[SentEvent] | None = (),
    body: bytes = b"body",
    facts: Sequence[Fact] = (),
    span: bytes = b"span",
) -> Arrival:
    """Park a run, until an event or a time."""
    parking = Parking(turn, step, note, token, body, due, wait, early, span=span)
    return store.park(RunId(id), parking, now, KEEP, facts=facts)


def wait_for(
    digest: str = "by-name",
    shape: str = NO_SHAPE,
    *,
    name: str = "event",
    since: float = 0,
    oldest: float = 0,
) -> Subscription:
    return Subscription(name, shape, digest, since, oldest)


def learn(store: Store, wait: Subscription) -> None:
    """Make the shape of a wait known to the store."""
    park(store, wait.shape, wait=wait)
    store.settle(RunId(wait.shape), None)


def event(id: str = "event", *, at: float = 20, is_named: bool = False) -> SentEvent:
    """An event whose memo is its id."""
    return SentEvent(id, "event", at, id.encode(), is_named)


def emit(
    store: Store, event: SentEvent, digests: Mapping[str, str] = BY_NAME, **options: Any
) -> Emitted:
    times = {"now": event.at, "until": event.at + 10}
    return store.emit(
        event, digests, **{**times, "limit": 10, "keep": KEEP, "most": 1_000, **options}
    )


def past(
    store: Store, digest: str = "by-name", since: float = 0, before: float = 99
) -> list[SentEvent]:
    return store.past("event", digest, since, before, skip=0, limit=1_000)


def kind_of(name: str = "kind", *, most: int = 9, most_bytes: int = 999) -> BatchKind:
    """A kind of batches that leave five seconds after their first call."""
    return BatchKind(name, "task", "token", b"head ", most, most_bytes, 5.0)


def gather(
    store: Store, *ids: str, now: float = 0, kind: BatchKind | None = None, until: float = 99
) -> list[Leased]:
    """Add calls to a batch, each with a line that is its id."""
    members = [Member(0, RunId(id), f"{id} ".encode()) for id in ids]
    kinds = [kind or kind_of()]
    return store.gather(kinds, members, now=now, until=until, keep=KEEP, claims=KEEP)
