"""What a run that comes again has kept: its steps, and what it has published at once."""

from __future__ import annotations

from celery_defer.errors import StoreError, Suspended
from celery_defer.model import CallState
from celery_defer.run import memo
from celery_defer.run.memo import Memo
from celery_defer.run.scope import Phase, Scope
from celery_defer.steps.replay import Replay
from celery_defer.steps.storage import ask
from celery_defer.store import Recalled

__all__ = ["check_current", "journal_of", "know", "published", "recall", "restore"]

# Before the id of a call that a body has published at once; no step's key begins so.
_NOW = "\0"
_GONE = frozenset({CallState.PUBLISHED, CallState.STAGED})


def journal_of(run: Scope) -> Replay:
    """Return the journal of a run whose steps have begun."""
    assert isinstance(run.journal, Replay)  # noqa: S101
    return run.journal


def know(run: Scope, recalled: Recalled) -> None:
    """Let the run know its steps, and have again what finished ones have deferred."""
    run.journal = replay = Replay(
        recalled.turn,
        recalled.since,
        dict(recalled.memos),
        recalled.waits,
        recalled.is_cancelled,
    )
    for call in replay.calls():
        run.calls.setdefault(call.id, call)
    run.replayed = {key[len(_NOW) :] for key in replay.memos if key.startswith(_NOW)}


def restore(run: Scope) -> None:
    """Let a run that was tried before have what its finished steps have deferred.

    Raises Suspended if it has parked since this delivery of it was published.
    """
    if run.journal is None and run.store is not None and not run.is_eager:
        found = run.store.recall(run.run.id, None, run.settings.claim_keeps)
        check_current(run, found)
        know(run, found)


def recall(run: Scope, step: str) -> Replay:
    """Answer what is known of the run's steps; raise Suspended if it goes on elsewhere."""
    if run.is_eager:
        run.journal = Replay(since=run.now())
        return journal_of(run)
    store = run.store
    if store is None:
        raise StoreError(
            f"step {step!r} has no place to remember in: set defer_store_url = 'redis://…'"
        )
    found = ask(run, step, lambda: store.recall(run.run.id, run.now(), run.settings.claim_keeps))
    check_current(run, found)
    _check_known(run, found)
    know(run, found)
    return journal_of(run)


def published(run: Scope, replay: Replay) -> dict[str, bytes]:
    """Answer as memos what the body itself has published with ``when="now"`` in this turn."""
    if all(call.state is CallState.BUFFERED for call in run.calls.values()):
        return {}
    known = {call.id for call in replay.calls()}
    return {
        f"{_NOW}{call.id}": memo.pack(Memo(calls=(call,)))
        for call in run.calls.values()
        if call.state in _GONE and call.id not in known
    }


def check_current(run: Scope, found: Recalled) -> None:
    """Raise Suspended if the run has parked since this delivery of it was published."""
    if found.turn > run.turn:
        run.drop(Phase.PARKED)
        raise Suspended(f"run {run.run.id} goes on in another delivery of it")


def _check_known(run: Scope, found: Recalled) -> None:
    if found.turn < run.turn:
        raise StoreError(f"the store has forgotten the steps of run {run.run.id}")
