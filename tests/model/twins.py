"""The plain store and the one in Redis, which are asked the same, and have to say the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from celery_defer.store import MemoryStore
from tests.support.standing import StandingClock, StandingStore

__all__ = ["Twins"]


class SkewedStore(StandingStore):
    """As seen by a client whose clock differs from that of the server."""

    def __init__(self, client: Redis, prefix: str, clock: StandingClock, ahead: float) -> None:
        super().__init__(client, prefix)
        self._clock = lambda: clock.now + ahead


@dataclass
class Twins:
    """A memory store and one in Redis, which are asked the same, and say the same."""

    client: Redis
    prefix: str
    clock: StandingClock = field(default_factory=lambda: StandingClock(1_000.0))
    #: By how much the clock of the next client is ahead.
    ahead: float = 0.0

    def __post_init__(self) -> None:
        self.plain = MemoryStore(clock=self.clock)
        self.server = StandingStore(self.client, self.prefix)
        self.server.move(self.clock.now)
        self.clients: dict[float, SkewedStore] = {}

    def move(self, seconds: float) -> None:
        self.clock.move(seconds)
        self.server.move(seconds)

    def ask(self, do: Callable[[Any, float], Any], *, is_time: bool = False) -> Any:
        """Do the same with both; *do* takes a store, and by how much its client is ahead."""
        if self.ahead not in self.clients:
            self.clients[self.ahead] = SkewedStore(self.client, self.prefix, self.clock, self.ahead)
        fast = self.clients[self.ahead]
        one, other = do(self.plain, 0.0), do(fast, self.ahead)
        if is_time and other is not None:
            assert one is not None
            other = one if abs(other - self.ahead - one) < 1e-6 else other - self.ahead
        assert one == other, f"{one}\n{other}"
        return one
