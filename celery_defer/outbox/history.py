"""What the histories of a run and of its calls are told by the run, and what they say of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from celery_defer import encoding, guard
from celery_defer.ids import RunId, run_id
from celery_defer.model import Call, CallState, Outcome
from celery_defer.outbox.record_history import ENDS
from celery_defer.outbox.records import DeferredCalls
from celery_defer.run import (
    NO_REVOKE,
    WITHDRAWN,
    Phase,
    Scope,
    fact_of_run,
    facts_of_calls,
    facts_without_run,
    told_by,
    told_of,
    told_replaced,
)
from celery_defer.settings import Settings
from celery_defer.store import Fact, History, RunState, Store, replacing

_NO_REVOKE = encoding.loads(NO_REVOKE)
_WITHDRAWN = encoding.loads(WITHDRAWN)


def committed(run: Scope, calls: Sequence[Call], *, are_published: bool) -> list[Fact]:
    """Return what is to be known of a run that has succeeded, and of its *calls*."""
    if not run.settings.record:
        return []
    # Messages go with the result only if all calls of the run wait for its success.
    told = _told_of(run, calls, None if are_published else Outcome.SUCCESS)
    facts = fact_of_run(run, RunState.SUCCEEDED, told=told)
    published = [*(calls if are_published else ()), *_at_once(run)]
    return [*facts, *_facts(run, published, RunState.PUBLISHED), *facts_without_run(run)]


def staged(run: Scope, record: DeferredCalls) -> list[Fact]:
    """Return what is to be known of a run whose *record* is staged before its result is stored."""
    if not run.settings.record:
        return []
    told = _told_of(run, record.calls, _expected(run))
    facts = fact_of_run(run, RunState.RUNNING, told=told)
    calls = _facts(run, record.calls, RunState.BUFFERED)
    return [
        *facts, *calls, *_facts(run, _at_once(run), RunState.PUBLISHED), *facts_without_run(run)
    ]  # fmt: skip


def published_now(run: Scope, call: Call) -> list[Fact]:
    """Return what is to be known of a call that has left at once, if it counts in experiments.

    Of others the end of the run tells.
    """
    return _facts(run, [call], RunState.PUBLISHED) if call.experiments else []


def failed(run: Scope) -> list[Fact]:
    """Return what is to be known of a run that has failed."""
    skipped = facts_without_run(run) if run.settings.record else []
    told = _told(run, Outcome.FAILURE) if run.has_deferred or run.journal else b""
    if not (run.is_known or run.journal or told):
        return []
    at_once = _facts(run, _at_once(run), RunState.PUBLISHED)
    return [*fact_of_run(run, RunState.FAILED, told=told), *at_once, *skipped]


def without_run(run: Scope) -> list[Fact]:
    """Return what is to be known of skipped and aborted calls, and which run they are of."""
    facts = facts_without_run(run)
    if not facts:
        return []
    outcome = _expected(run)
    return [*fact_of_run(run, ENDS[outcome], told=_told(run, outcome)), *facts]


def without_result(run: Scope) -> list[Fact]:
    """Return what is to be known of the end of a run that has begun, and that no result tells of.

    A run with calls is told of when they have left the outbox.
    """
    pending = run.ending.commit
    if run.has_readable_end or (pending is not None and pending.record.calls):
        return []
    outcome = _expected(run)
    return fact_of_run(run, ENDS[outcome], told=_told(run, outcome))


def not_made(run: Scope, store: Store, calls: Iterable[Call] = ()) -> list[Fact]:
    """Return what forgets the calls that an earlier attempt has staged, and this one not made."""
    if not run.settings.record:
        return []
    (known,) = store.histories([run.run.id])
    told: Any = guard.attempt(lambda: encoding.loads(known.told)) if known and known.told else {}
    made = {call.id for call in calls}
    ids = [run_id(run.run.id, id) for id in (told or {}).get("c", ()) if id not in made]
    staged = [each for each in store.histories(ids) if each and each.state is RunState.BUFFERED]
    keep = run.settings.result_expires
    return [Fact(each.id, task_in(each), RunState.UNKNOWN, keep) for each in staged]


def restarted(extension: Any, id: RunId, task: str, step: str) -> list[Fact]:
    """Return what is to be known of a run that goes on at a step; what it has told stays."""
    (known,) = extension.store.histories([id])
    if known is None or not extension.settings.record:
        return []
    wait = {"step": step, "kind": "restart", "since": extension.clock(), "until": 0}
    told = {name: part for name, part in told_of(known).items() if name not in _NO_REVOKE}
    keep = extension.settings.result_expires
    return [Fact(id, task, RunState.WAITING, keep, told=to_json({**told, "w": wait}))]


def ended(
    settings: Settings, id: RunId, task: str, state: RunState, *, told: bytes = b""
) -> list[Fact]:
    """Return what is to be known of a run that has ended without a worker."""
    if not settings.record or not task:
        return []
    return [Fact(id, task, state, settings.result_expires, told=told)]


def cancelled(
    settings: Settings,
    store: Store,
    id: RunId,
    task: str,
    why: str = "",
    *,
    is_revoked: bool = False,
) -> list[Fact]:
    """Return what is to be known of a run that was cancelled, or replaced; what it told stays.

    Without *is_revoked* Celery does not know of it.
    """
    if by := replacing(why):
        return ended(settings, id, task, RunState.REPLACED, told=told_replaced(by))
    (known,) = store.histories([id])
    reason = {"reason": why} if why else {}
    told = to_json({**told_of(known), **({} if is_revoked else _NO_REVOKE), **reason})
    return ended(settings, id, task, RunState.ABORTED, told=told)


def task_of(store: Store, id: RunId) -> str:
    """Return the task of a run; nothing if its history does not say."""
    (known,) = store.histories([id])
    return task_in(known)


def task_in(known: History | None) -> str:
    """Return the task of a run, as its history has it; nothing if it does not say."""
    about: Any = known and guard.attempt(lambda: encoding.loads(encoding.lengthen(known.about)))
    return str((about or {}).get("t", ""))


def is_told_unrevoked(known: History) -> bool:
    """Whether a run that was cancelled is one that Celery was not asked to revoke."""
    return bool(_NO_REVOKE.keys() & told_of(known).keys())


def is_withdrawn(known: History | None) -> bool:
    """Whether a run is that of a call that was aborted before it started."""
    return known is not None and told_of(known).get("x") == _WITHDRAWN["x"]


def has_not_made(parent: History | None, defer_id: str) -> bool:
    """Whether a run is known to have ended without a call of this id, or has dropped it."""
    if parent is None or parent.state.is_open:
        return False
    told = told_of(parent)
    return defer_id not in told.get("c", ()) or defer_id in _dropped(parent, told)


# -- private ------------------------------------------------------------------------------


def _dropped(parent: History, told: Mapping[str, Any]) -> set[str]:
    """Return the ids of the calls that waited for another end than their parent had."""
    ends = [outcome for outcome, state in ENDS.items() if state is parent.state]
    return {
        id for id, _, _, when, *_ in told.get("n", ()) for end in ends if not end.starts(when)
    }  # fmt: skip


def _expected(run: Scope) -> Outcome:
    """Return how a run ends whose result is still to be stored, if it can be."""
    return Outcome.FAILURE if run.ending.phase is Phase.RAISED else Outcome.SUCCESS


def _told(run: Scope, outcome: Outcome) -> bytes:
    pending = run.ending.commit
    return _told_of(run, pending.record.calls if pending else (), outcome)


def _told_of(run: Scope, calls: Iterable[Call], outcome: Outcome | None) -> bytes:
    return told_by(run, _all(run, calls), outcome=outcome)


def _at_once(run: Scope) -> list[Call]:
    """Return the calls of a run that have left before its end."""
    if not run.has_deferred:
        return []
    buffered = run.buffer.calls.values()
    left = (CallState.PUBLISHED, CallState.STAGED)
    return [call for call in buffered if call.options.when == "now" and call.state in left]


def _all(run: Scope, calls: Iterable[Call]) -> list[Call]:
    """Return all calls of a run that have, or might have had, a run; also of earlier turns."""
    of_steps = run.journal.calls() if run.journal else ()
    buffered = run.buffer.calls.values() if run.has_deferred else ()
    waiting = {call.id for call in calls}
    others = (call for call in (*of_steps, *buffered) if call.id not in waiting)
    made = {call.id: call for call in others if call.state.value not in ("BUFFERED", "DROPPED")}
    return [*calls, *made.values()]


def _facts(run: Scope, calls: Iterable[Call], state: RunState) -> list[Fact]:
    id, root = run.run.id, run.run.root_id
    return facts_of_calls(run.settings, calls, state, parent=id, root=root, now=run.now())
