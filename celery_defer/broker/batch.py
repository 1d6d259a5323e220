"""A batch that is open: what can be asked of it, whatever the broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from celery_defer.broker.message import Wire

__all__ = ["Arrival", "Batch", "Known", "Ride", "Send"]

#: Waits until what was sent has arrived; raises where that is not known.
Arrival = Callable[[], None]

#: Sends Redis commands, given one after the other as a name, a key and a value.
Send = Callable[[Sequence[Any]], Arrival]

#: Given how redis-py connects to the broker, answers what sends a batch together with something
#: of the caller's; None where they cannot go as one.
Ride = Callable[[Mapping[str, Any]], "Send | None"]

#: What was found out of a broker, by whom it was found for.
Known = WeakKeyDictionary[Any, dict[Any, Any]]


def _no_room(ride: Ride) -> None:  # noqa: ARG001
    return None


def _nowhere(wire: Wire) -> None:
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that is open, and how to send it in company."""

    #: What it publishes goes with the batch.
    producer: Any
    #: Answers the wait for what it sends, or None where the caller has no company for it.
    send_with: Callable[[Ride], Arrival | None] = _no_room
    #: Answers the message that was published last, where another can be ``put`` on its pattern.
    last: Callable[[], Wire | None] = lambda: None
    put: Callable[[Wire], None] = _nowhere
    #: Kept for as long as the connection.
    known: Known = field(default_factory=WeakKeyDictionary)
