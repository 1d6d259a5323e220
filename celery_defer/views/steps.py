"""The steps of a run, as its store remembers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from pydantic_core import from_json

from celery_defer import guard
from celery_defer.current import extension_of
from celery_defer.run import Memo
from celery_defer.steps import CAUGHT, Note, Span
from celery_defer.store import Recalled, RunState, Store
from celery_defer.views.rows import RunRow, StepRow
from celery_defer.views.times import moment


def steps_of(
    app: Any, store: Store, run: RunRow, failures: Sequence[Sequence[Any]] = ()
) -> list[StepRow]:
    """Return the steps of a run in the order in which they began.

    *failures* has those that the run has told of itself, in case its store does not have them.
    """
    # Nothing is kept longer because somebody looks.
    recalled = store.recall(run.id, None, 0)
    shows = extension_of(app).settings.record_payloads is True
    found = [*_caught(recalled), *_rows(recalled, run, shows=shows)]
    stored = {row.id: row for row in found}  # what was tried again has succeeded, or failed last
    rows = [*stored.values(), *(row for row in _told(failures) if row.id not in stored)]
    known = [row for row in rows if row.started_at]
    unknown = [row for row in rows if not row.started_at]
    return [*sorted(known, key=_began), *unknown]


def _rows(recalled: Recalled, run: RunRow, *, shows: bool) -> Iterator[StepRow]:
    for key in dict.fromkeys([*recalled.memos, *recalled.waits]):
        if key[:1] in ("\0", "\1"):  # no step: what the body did, or caught
            continue
        body, note_body = recalled.memos.get(key), recalled.waits.get(key)
        memo = guard.attempt(partial(Memo.unpack, body)) if body else None
        note = guard.attempt(partial(Note.unpack, note_body)) if note_body else None
        span = guard.attempt(partial(Span.unpack, recalled.spans.get(key))) or Span()
        is_current = note is not None and note.turn == recalled.turn - 1
        is_waiting = is_current and run.state is RunState.WAITING
        until = _until(span, run)
        row = _row(key, memo, note, span, until, is_waiting=is_waiting, shows=shows)
        if memo is None and _was_cut_short(span, run):
            row = replace(row, state="cancelled")
        # Where a wait has ended with an event, its memo is the event's.
        variants = (memo and memo.experiments) or span.experiments
        yield replace(row, experiments=variants) if variants else row


def _told(failures: Sequence[Sequence[Any]]) -> Iterator[StepRow]:
    for key, kind, began, took, text in failures:
        yield StepRow(
            key, kind, "failed", 1, moment(began), moment(began and began + took), failure=text
        )


def _caught(recalled: Recalled) -> Iterator[StepRow]:
    """Yield the steps whose failures a body has caught; of a later attempt last."""
    for key, body in recalled.memos.items():
        if key[:1] == CAUGHT and (memo := guard.attempt(partial(Memo.unpack, body))):
            id = key.partition(":")[2]
            yield _row(id, memo, None, Span(), None, is_waiting=False, shows=False)


def _row(
    key: str,
    memo: Memo | None,
    note: Note | None,
    span: Span,
    until: datetime | None,
    *,
    is_waiting: bool,
    shows: bool,
) -> StepRow:
    kind = (memo and memo.kind) or (note and note.kind) or "run"
    # A step that was tried again has waited since its first try.
    began = moment(span.since or (memo.began if memo else 0.0))
    tries = (note.tries if note else 0) + (kind == "run" and memo is not None)
    if memo is None and is_waiting:
        return StepRow(key, kind, "waiting", max(tries, 1), began)
    if memo is None:  # a sleep leaves no memo
        return StepRow(key, kind, "finished", max(tries, 1), began, until)
    ended = memo.began + memo.took if memo.began else _arrived(memo, span)
    if memo.failure:
        text = memo.failure.text
        return StepRow(key, kind, "failed", max(tries, 1), began, moment(ended), failure=text)
    result = guard.attempt(lambda: from_json(memo.result)) if shows else None
    return StepRow(key, kind, "finished", max(tries, 1), began, moment(ended), result)


def _was_cut_short(span: Span, run: RunRow) -> bool:
    """Whether the run was cancelled or revoked in a wait."""
    until, ended = moment(span.until), run.finished_at
    return run.state is RunState.ABORTED and bool(until and ended and until > ended)


def _until(span: Span, run: RunRow) -> datetime | None:
    """Return when a wait was over: with its time, or with the end of its run, as by a cancel."""
    until = moment(span.until)
    return min(until, run.finished_at) if until and run.finished_at else until


def _arrived(memo: Memo, span: Span) -> float:
    """Return when a wait has ended: with its event or its run, or when its time was up."""
    if memo.kind == "invoke":  # its link was made when its end was seen
        return memo.calls[0].at if memo.calls else 0.0
    result: Any = guard.attempt(lambda: from_json(memo.result))
    if isinstance(result, Mapping) and isinstance(result.get("at"), int | float):
        return max(float(result["at"]), span.since)
    return span.until


def _began(row: StepRow) -> datetime:
    assert row.started_at is not None  # noqa: S101
    return row.started_at
