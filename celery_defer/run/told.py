"""What a run itself has done, for its history: its calls, its steps, what it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from pydantic_core import to_json

from celery_defer import encoding, guard
from celery_defer.model import Call, CallState, Outcome
from celery_defer.run.about import HIDDEN, in_short, refused_by
from celery_defer.run.journal import Journal
from celery_defer.run.scope import Scope
from celery_defer.settings import Settings
from celery_defer.store import History
from celery_defer.text import shortened

#: What is told of a run that was cancelled as it waited: no worker remembers it as revoked, so it
#: can be restarted at once.
NO_REVOKE = b'{"x":1}'
#: What is told of a call that was withdrawn: its run never starts.
WITHDRAWN = b'{"x":2}'

# What a run tells of, as its record has it.
_FORMS: dict[str, type] = {
    "c": list,
    "k": list,
    "n": list,
    "f": list,
    "g": dict,
    "w": dict,
    "e": str,
    "x": int,
    "by": str,
    "reason": str,
    "batch": str,
}
# Calls of one run that are told although it does not make them.
_MOST_DROPPED = 100
# Failed steps of one run that are told, and characters of each failure.
_MOST_FAILURES = 20
_LONGEST_FAILURE = 500
_MADE_AT_END = frozenset({CallState.BUFFERED, CallState.DROPPED})


def told_by(
    run: Scope,
    calls: Sequence[Call],
    wait: Mapping[str, Any] | None = None,
    *,
    outcome: Outcome | None = None,
) -> bytes:
    """Return what a run has done, for its history: the ids of its calls in order, and its tags.

    And what it waits for, if it does; and which calls it does not make if *outcome* is its end.
    """
    if not run.settings.record:
        return b""
    skipped = run.buffer.skipped if run.has_deferred else []
    order = run.buffer.order if run.has_deferred else {}
    dropped = _not_for(outcome, run)[:_MOST_DROPPED] if outcome else []
    made = sorted([*calls, *dropped, *skipped], key=lambda call: (order.get(call.id, -1), call.at))
    ids = dict.fromkeys(call.id for call in made)
    told: dict[str, Any] = {"c": list(ids)} if ids else {}
    if again := [call for call in skipped if call.id in run.buffer.calls]:
        told["k"] = [
            [
                call.id, call.task, call.at, call.reason, refused_by(run.settings, call),
                _before(call, ids, run),
            ]
            for call in again[:100]
        ]  # fmt: skip
    if outcome is Outcome.FAILURE and run.journal:
        told |= _failed_steps(run.journal)
    if outcome is Outcome.FAILURE and not run.keeps_result:
        told |= _reason(run.ending.result)
    if dropped:
        told["n"] = [
            [call.id, call.task, call.at, call.options.when, call.tags] for call in dropped
        ]
    if run.header is None or run.tags != run.header.tags:
        told |= {"g": run.tags} if run.tags or run.header else {}
    if run.takes_variants:
        told["v"] = in_short(run.experiments, run.run.id)
    if wait:
        told["w"] = _wait(run.settings, wait)
    return to_json(told) if told else b""


def told_of(history: History | None) -> dict[str, Any]:
    """Return what a run itself has done, as its history has it."""
    told: dict[str, Any] = {}
    for line in history.told.split(b"\n") if history and history.told else ():
        part = _fields(guard.attempt(partial(encoding.loads, line)))
        calls = [*told.get("c", ()), *part.get("c", ())]
        told = {**told, **part, "c": list(dict.fromkeys(calls))}
    return told


# -- private ------------------------------------------------------------------------------


def _fields(part: Any) -> dict[str, Any]:
    """Return what a line tells, without what nobody has told in this form."""
    fields = part.items() if isinstance(part, dict) else ()
    return {name: value for name, value in fields if isinstance(value, _FORMS.get(name, object))}


def _wait(settings: Settings, wait: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a wait, without the values of its match if payloads are hidden or masked."""
    if settings.record_payloads is True or not wait.get("match"):
        return wait
    return {**wait, "match": dict.fromkeys(wait["match"], HIDDEN)}


def _reason(error: object) -> dict[str, Any]:
    """Return why a run has failed whose result nobody keeps, as a result would say it."""
    if not isinstance(error, BaseException):
        return {}
    name = type(error).__name__
    text = shortened(guard.attempt(lambda: f"{name}: {error}", name), _LONGEST_FAILURE)
    return {"e": text.encode(errors="backslashreplace").decode()}  # no lone surrogate


def _failed_steps(journal: Journal) -> dict[str, Any]:
    """Return the steps that have failed, and of which the store remembers nothing."""
    rows = [
        [key, memo.kind, round(memo.began, 6), round(memo.took, 6), text]
        for key, memo in islice(journal.failures(), _MOST_FAILURES)
        if (text := memo.failure and shortened(memo.failure.text, _LONGEST_FAILURE))
    ]
    return {"f": rows} if rows else {}


def _before(refused: Call, ids: Iterable[str], run: Scope) -> int:
    """Return how many of the calls with these *ids* were made before one that was refused."""
    place, order = run.buffer.place(refused), run.buffer.order
    return sum(order.get(id, -1) < place for id in ids)


def _not_for(outcome: Outcome, run: Scope) -> list[Call]:
    """Return the calls of a run that wait for another end."""
    return [
        call
        for call in (run.buffer.calls.values() if run.has_deferred else ())
        if call.state in _MADE_AT_END and not outcome.starts(call.options.when)
    ]
