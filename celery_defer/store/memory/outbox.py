"""The memory store: what each method does, written plainly rather than for speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from celery_defer.flow import Ask, Go
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.memory.batches import MemoryBatches
from celery_defer.store.memory.events import MemoryEvents
from celery_defer.store.memory.repairs import MemoryRepairs
from celery_defer.store.memory.runs import MemorySteps
from celery_defer.store.memory.state import MemoryRecord
from celery_defer.store.owner import is_of_one_message, is_of_other_task
from celery_defer.store.values import MOST_BYTES, Claim, Depth, Leased, Quarantined


class MemoryStore(MemorySteps, MemoryEvents, MemoryRepairs, MemoryBatches):
    """Keeps everything in this process, for tests; nothing expires."""

    def stage(
        self, id: RunId, token: str, body: bytes, due: float, keep: float,
        *, replaces: bool = True, facts: Sequence[Fact] = (),
    ) -> bool:  # fmt: skip
        with self._lock:
            if not replaces and id in self._outbox and self._outbox[id].token != token:
                return False
            self._outbox[id] = MemoryRecord(token, body, due, expires=due + keep)
            self._note(facts)
            return True

    def settle(self, id: RunId, token: str | None, *, facts: Sequence[Fact] = ()) -> None:
        with self._lock:
            if token is None or self._has(id, token):
                self._outbox.pop(id, None)
                self._note(facts)

    def expect(self, runs: Sequence[tuple[RunId, str, float]]) -> None:
        with self._lock:
            for id, token, look in runs:
                if self._has(id, token):
                    self._outbox[id] = replace(self._outbox[id], due=look)

    def take(self, now: float, until: float, limit: int) -> list[Leased]:
        with self._lock:
            self._cancel_late(now, limit)
            due = [(record.due, id) for id, record in self._outbox.items() if record.due <= now]
            sizes = accumulate(len(self._outbox[id].body) for _, id in sorted(due))
            count = max(1, sum(size <= MOST_BYTES for size in sizes))
            return [
                replace(self._lease(id, until, now), late=now - at)
                for at, id in sorted(due)[: min(limit, count)]
            ]

    def postpone(
        self,
        id: RunId,
        token: str,
        due: float,
        body: bytes | None = None,
        *,
        facts: Sequence[Fact] = (),
    ) -> None:
        with self._lock:
            if self._has(id, token):
                record = self._outbox[id]
                self._outbox[id] = replace(
                    record,
                    due=due if record.over is None else record.over,
                    body=record.body if body is None else body,
                    lease=0.0,
                    over=None,
                )
                self._note(facts)

    def quarantine(
        self, id: RunId, token: str, reason: str, keep: float, *, facts: Sequence[Fact] = ()
    ) -> None:
        with self._lock:
            if self._has(id, token):
                text = reason.replace("\0", "")
                self._quarantine[id] = Quarantined(id, text, self._outbox.pop(id).body)
                self._note(facts)

    def quarantined(self) -> list[Quarantined]:
        return sorted(self._quarantine.values(), key=lambda entry: entry.id)

    def waiting(self, until: float = math.inf) -> int:
        return sum(record.due <= until for record in self._outbox.values())

    def depth(self, now: float) -> Depth:
        with self._lock:
            times = [record.due for record in self._outbox.values()]
            late = max((now - due for due in times), default=0.0)
            return Depth(len(times), self.waiting(now), max(late, 0.0), len(self._quarantine))

    def refusal(self) -> str | None:
        return None

    def risks(self) -> list[str]:
        return ["the store is in this process, and ends with it"]

    def claim(
        self,
        id: RunId,
        owner: str,
        keep: float,
        *,
        settles: bool = False,
        facts: Sequence[Fact] = (),
        is_retry: bool = False,
        ask: Ask | None = None,
    ) -> Claim:
        with self._lock:
            if id in self._runs and self._runs[id].turn:
                return Claim("", is_mine=False)
            if id in self._owners and is_of_other_task(self._owners[id], owner):
                del self._owners[id]
            is_again = id in self._owners
            first = self._owners.setdefault(id, owner)
            if settles and first == owner:
                self._outbox.pop(id, None)
            is_asked = ask is not None and (first == owner or is_of_one_message(first, owner))
            admission = self._claim_with(ask, is_again=is_again) if ask and is_asked else None
            if admission is not None and not isinstance(admission, Go):
                return Claim(first, first == owner, admission)
            if first == owner or (is_retry and is_of_one_message(first, owner)):
                self._note(facts)
            return Claim(first, first == owner, admission)
