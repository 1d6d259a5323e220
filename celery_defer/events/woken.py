"""What a sender of an event gets: how many runs it has woken."""

from __future__ import annotations

from typing import Any

from typing_extensions import Self


class Woken(int):
    """The number of runs that an event has woken until now: an ``int`` with facts beside it."""

    #: Whether this event was sent before, by its name and *id*; then it counts once.
    is_repeat: bool
    #: Whether more runs wait than a sender wakes itself; relays wake the others in a moment.
    has_more: bool

    #: How many runs it has cancelled until now, because of their ``cancel_on``.
    cancelled: int

    def __new__(
        cls, runs: int, *, is_repeat: bool = False, has_more: bool = False, cancelled: int = 0
    ) -> Self:
        woken = super().__new__(cls, runs)
        woken.is_repeat, woken.has_more, woken.cancelled = is_repeat, has_more, cancelled
        return woken

    def __getnewargs_ex__(self) -> tuple[tuple[int], dict[str, Any]]:
        return (int(self),), {
            "is_repeat": self.is_repeat,
            "has_more": self.has_more,
            "cancelled": self.cancelled,
        }
