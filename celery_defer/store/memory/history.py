"""The histories of the memory store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from celery_defer.commands import Commands
from celery_defer.ids import RunId
from celery_defer.store.history import Fact, History, Lists, Place, RunState
from celery_defer.store.memory.scores import MemoryScores

_EARLY = (RunState.BUFFERED, RunState.PUBLISHED, RunState.UNKNOWN)


class MemoryHistories(MemoryScores):
    """Keeps a history for each run, and when it began and came into its state."""

    def facts(self, facts: Sequence[Fact]) -> Commands | None:
        return None

    def note(self, facts: Sequence[Fact]) -> None:
        with self._lock:
            self._note(facts)

    def histories(self, ids: Sequence[RunId]) -> list[History | None]:
        with self._lock:
            return [self._histories.get(id) for id in ids]

    def tasks(self) -> list[str]:
        with self._lock:
            return list(dict.fromkeys(self._tasks[id] for id in reversed(self._began)))

    def listed(
        self, lists: Lists, *, since: float = 0.0, before: Place | None = None, limit: int
    ) -> list[Place]:
        with self._lock:
            places = sorted(self._places(lists), reverse=True)
            within = (each for each in places if each.at >= since)
            return [each for each in within if before is None or each < before][:limit]

    def counts(self, tasks: Sequence[str], states: Sequence[RunState]) -> list[int]:
        with self._lock:
            return [
                len(self._places(Lists((task,), (state,)))) for task in tasks for state in states
            ]

    def _places(self, lists: Lists) -> list[Place]:
        if lists.tag is not None:
            return [self._tagged[tag, id] for tag, id in self._tagged if tag == lists.tag]
        if not lists.states:
            return [place for id, place in self._began.items() if self._tasks[id] in lists.tasks]
        return [
            place
            for id, place in self._entered.items()
            if self._histories[id].state in lists.states and self._tasks[id] in lists.tasks
        ]

    def _note(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            self._learn(fact, self.clock())

    def _learn(self, fact: Fact, now: float) -> None:
        old = self._histories.get(fact.id)
        if old and fact.told and old.state is fact.state is RunState.SUCCEEDED:
            self._histories[fact.id] = replace(old, told=old.told + b"\n" + fact.told)
        is_late = old and fact.state in _EARLY and old.state is not RunState.BUFFERED
        if old and (old.state, fact.state) == (RunState.QUARANTINED, RunState.BUFFERED):
            is_late = False  # it is tried again
        if old and is_late and fact.state is RunState.PUBLISHED and not old.published:
            self._complete(old, fact, now)
        if is_late or (old and old.state is RunState.SUCCEEDED):
            return
        self._follow(fact)
        if not (old or fact.about):
            return
        if fact.state is RunState.UNKNOWN:
            for kept in (self._histories, self._began, self._entered, self._tasks):
                kept.pop(fact.id, None)
            return
        self._facts += 1
        place = Place(now, self._facts, fact.id)
        self._tasks[fact.id] = fact.task
        self._began.setdefault(fact.id, place)
        self._histories[fact.id] = _after(old or History(fact.id, fact.state), fact, now)
        if fact.state is RunState.SUCCEEDED:
            self._entered.pop(fact.id, None)
        else:
            self._entered[fact.id] = place
        for tag in fact.tags:
            self._tagged[tag, fact.id] = place

    def _complete(self, old: History, fact: Fact, now: float) -> None:
        """Complete the history of a call at once, which its run has begun."""
        if fact.about and len(fact.about) != len(old.about):
            at = old.deferred or now - (fact.deferred or 0.0)
            self._histories[old.id] = replace(old, published=at, about=fact.about)


def _after(old: History, fact: Fact, now: float) -> History:
    """Return the history after a fact."""
    if fact.state is RunState.WAITING and not fact.attempt:  # it is restarted
        old = replace(old, attempts=0, published=now, started=0.0)
    ago = {"deferred": fact.deferred, "started": fact.started}
    times: dict[str, Any] = {
        name: now - seconds
        for name, seconds in ago.items()
        if seconds is not None and not getattr(old, name)
    }
    if fact.state is RunState.PUBLISHED:
        times["published"] = now
    return replace(
        old,
        state=fact.state,
        attempts=max(old.attempts, fact.attempt),
        finished=0.0 if fact.state.is_open else now,
        about=old.about or fact.about,
        told=fact.told or old.told,
        **times,
    )
