"""What a run reads from the store: its steps, and the calls it published at once."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import TypeVar

from celery_defer import guard
from celery_defer.errors import StoreAwayError, StoreError, Suspended
from celery_defer.model import CallState
from celery_defer.run import Memo, Phase, Scope, takes_steps
from celery_defer.steps.replay import Replay
from celery_defer.steps.retention import attempt_of, check_kept, note_memos, note_outage
from celery_defer.store import Recalled, Store
from celery_defer.text import text_of

T = TypeVar("T")

# Prefix of the id of a call about which the body did something; no step's key begins with it.
_OF_BODY = "\0"
# Several threads of a run may come to its first step at the same time.
_loading = RLock()
_GONE = frozenset({CallState.PUBLISHED, CallState.STAGED})


def journal_of(run: Scope) -> Replay:
    """Return the run's journal; a new one if it has none."""
    with _loading:
        if run.journal is None:
            run.journal = Replay(since=run.now(), is_recalled=run.is_eager)
    assert isinstance(run.journal, Replay)  # noqa: S101
    return run.journal


def ask(run: Scope, step: str, question: Callable[[], T]) -> T:
    """Return what *question* gets from the store; raise StoreAwayError if the store is away."""
    where = f"step {step!r} of run {run.run.id}"
    with guard.translated(lambda error: away(run, f"{where} finds no store: {text_of(error)}")):
        return question()


def away(run: Scope, text: str) -> StoreAwayError:
    """Return the error with which a run ends that finds no store; it will be tried again."""
    lost = journal_of(run).lost_store = StoreAwayError(text)
    note_outage(run)
    return lost


def store_of(run: Scope) -> Store:
    """Return the store of the run; raise StoreError where it has none."""
    if run.store is None or run.is_eager:
        raise StoreError
    return run.store


def load_steps(run: Scope, recalled: Recalled) -> None:
    """Give the run its journal, and its buffer the calls that finished steps deferred."""
    replay = Replay.of(recalled, attempt_of(run))
    if run.journal is not None:
        replay.lost_store = run.journal.lost_store
        replay.pending = journal_of(run).pending
    run.journal = replay
    of_body = [Memo.unpack(memo) for key, memo in replay.memos.items() if key[0] == _OF_BODY]
    published = (call.id for memo in of_body for call in memo.calls)
    run.buffer.recall(replay.deferring(), published)


def restore(run: Scope) -> None:
    """Load the steps of a run that was tried before, if that has not happened yet.

    Raises Suspended if the run has parked since this delivery was published.
    """
    is_recalled = run.journal is not None and run.journal.is_recalled
    if not is_recalled and run.store is not None and not run.is_eager:
        recalled = run.store.recall(run.run.id, None, run.settings.run_keeps)
        check_current(run, recalled.turn)
        check_kept(run, recalled)
        load_steps(run, recalled)


def recall(run: Scope, step: str) -> Replay:
    """Read the run's steps from the store; raise Suspended if another delivery has the run."""
    takes_steps(run.task.name)
    if run.is_eager:
        return journal_of(run)
    store = run.store
    if store is None:
        raise StoreError(
            f"step {step!r} has no place to remember in: set defer_store_url = 'redis://…'"
        )
    recalled = ask(run, step, lambda: store.recall(run.run.id, run.now(), run.settings.run_keeps))
    check_current(run, recalled.turn)
    check_kept(run, recalled)
    with _loading:
        if not (run.journal and run.journal.is_recalled):
            load_steps(run, recalled)
    note_memos(run, len(recalled.memos))
    return journal_of(run)


def lasting(run: Scope, replay: Replay) -> dict[str, bytes]:
    """Return memos of what the body has done in this turn for good.

    It published calls at once, and aborted calls of finished steps.
    """
    calls = list(run.buffer.calls.values())
    if all(call.state is CallState.BUFFERED for call in calls):
        return {}
    remembered = {call.id for call in replay.calls()}
    published = {
        call.id: Memo(calls=(call,))
        for call in calls
        if call.state in _GONE and call.id not in remembered
    }
    # The body makes and aborts its own calls again, but not those of a finished step.
    aborted = {
        call.id: Memo(aborted=(call.id,))
        for call in calls
        if call.state is CallState.ABORTED and call.id in remembered - run.buffer.aborted
    }
    return {f"{_OF_BODY}{id}": memo.pack() for id, memo in {**published, **aborted}.items()}


def check_current(run: Scope, turn: int) -> None:
    """Raise Suspended if the run is in a later *turn* than that of this delivery."""
    if turn > run.turn:
        run.drop(Phase.PARKED)
        raise Suspended(f"run {run.run.id} goes on in another delivery of it")
