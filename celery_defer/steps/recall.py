"""What a run that comes again remembers: its steps, and what it has published at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from celery_defer import guard
from celery_defer.errors import StoreAwayError, StoreError, Suspended
from celery_defer.model import CallState
from celery_defer.run import Memo, Phase, Scope, takes_steps
from celery_defer.steps.replay import Replay
from celery_defer.store import Recalled, Store
from celery_defer.text import text_of

T = TypeVar("T")

# Before the id of a call that a body has published at once; no step's key begins so.
_NOW = "\0"
_GONE = frozenset({CallState.PUBLISHED, CallState.STAGED})


def journal_of(run: Scope) -> Replay:
    """Return the journal of a run, which may be empty."""
    if run.journal is None:
        run.journal = Replay(since=run.now(), is_known=run.is_eager)
    assert isinstance(run.journal, Replay)  # noqa: S101
    return run.journal


def ask(run: Scope, step: str, question: Callable[[], T]) -> T:
    """Return what the store replies; raise StoreAwayError where it does not."""

    def away(error: Exception) -> StoreAwayError:
        found = StoreAwayError(
            f"step {step!r} of run {run.run.id} finds no store: {text_of(error)}"
        )
        journal_of(run).lost_store = found
        return found

    with guard.translated(away):
        return question()


def store_of(run: Scope) -> Store:
    """Return the store of the run; raise StoreError where it has none."""
    if run.store is None or run.is_eager:
        raise StoreError
    return run.store


def know(run: Scope, recalled: Recalled) -> None:
    """Let the run know its steps, and have again what finished ones have deferred."""
    replay = Replay.of(recalled)
    replay.lost_store = run.journal.lost_store if run.journal else None
    run.journal = replay
    published = (key[len(_NOW) :] for key in replay.memos if key.startswith(_NOW))
    run.buffer.recall(replay.calls(), published)


def restore(run: Scope) -> None:
    """Let a run that was tried before have what its finished steps have deferred.

    Raises Suspended if it has parked since this delivery of it was published.
    """
    is_known = run.journal is not None and run.journal.is_known
    if not is_known and run.store is not None and not run.is_eager:
        recalled = run.store.recall(run.run.id, None, run.settings.claim_keeps)
        check_current(run, recalled)
        know(run, recalled)


def recall(run: Scope, step: str) -> Replay:
    """Return what is known of the run's steps; raise Suspended if it goes on elsewhere."""
    takes_steps(run.task.name)
    if run.is_eager:
        return journal_of(run)
    store = run.store
    if store is None:
        raise StoreError(
            f"step {step!r} has no place to remember in: set defer_store_url = 'redis://…'"
        )
    recalled = ask(run, step, lambda: store.recall(run.run.id, run.now(), run.settings.claim_keeps))
    check_current(run, recalled)
    if recalled.turn < run.turn:
        raise StoreError(f"the store has forgotten the steps of run {run.run.id}")
    know(run, recalled)
    return journal_of(run)


def published(run: Scope, replay: Replay) -> dict[str, bytes]:
    """Return as memos what the body itself has published with ``when="now"`` in this turn."""
    calls = run.buffer.calls.values()
    if all(call.state is CallState.BUFFERED for call in calls):
        return {}
    remembered = {call.id for call in replay.calls()}
    return {
        f"{_NOW}{call.id}": Memo(calls=(call,)).pack()
        for call in calls
        if call.state in _GONE and call.id not in remembered
    }


def check_current(run: Scope, recalled: Recalled) -> None:
    """Raise Suspended if the run has parked since this delivery of it was published."""
    if recalled.turn > run.turn:
        run.drop(Phase.PARKED)
        raise Suspended(f"run {run.run.id} goes on in another delivery of it")
