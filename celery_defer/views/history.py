"""The rows of runs: of their histories, and of results where those say more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from celery_defer import encoding, guard
from celery_defer.errors import NoRecordError, StoreError
from celery_defer.ids import RunId, run_id
from celery_defer.model import Outcome
from celery_defer.run import extension_for, shown, told_of
from celery_defer.store import AWAY, History, RunState, Store
from celery_defer.views import results
from celery_defer.views.line import in_line
from celery_defer.views.rows import RunRow, WaitRow
from celery_defer.views.times import moment

P = ParamSpec("P")
R = TypeVar("R")

#: What to do where nothing is recorded.
NO_RECORDS = (
    "no runs are recorded, as defer_record = False: set defer_record = True, and restart the "
    "workers"
)

# The states of which a result says the reason.
_WITH_REASON = frozenset({RunState.FAILED, RunState.QUARANTINED})
_OUTCOMES = {RunState.SUCCEEDED: Outcome.SUCCESS, RunState.FAILED: Outcome.FAILURE}
# Why a run was aborted, by what is told of it; only its result knows more of a revoke.
_REVOKED = "revoked"
_WHY_ABORTED = {1: "cancelled", 2: results.WITHDRAWN}
# What a later version of the package may not be able to write.
_MOST = 1_000


def reader(app: Any) -> tuple[Any, Store]:
    """Return the app to read of, and its store; raise NoRecordError if it keeps no records."""
    extension = extension_for(app)
    if not extension.settings.record:
        raise NoRecordError(NO_RECORDS)
    if extension.store is None:
        raise StoreError
    return extension.app, extension.store


def reads(function: Callable[P, R]) -> Callable[P, R]:
    """Let *function* raise StoreError where the store does not reply, with the cause."""

    @wraps(function)
    def read(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except AWAY as error:
            raise StoreError(
                f"the store cannot be read ({type(error).__name__}: {error})"
            ) from error

    return read


def rows_of(app: Any, store: Store, ids: Sequence[RunId]) -> dict[RunId, RunRow]:
    """Return the rows of the runs of which anything is known, in this order."""
    rows: dict[RunId, RunRow] = {}
    for start in range(0, len(ids), _MOST):
        part = ids[start : start + _MOST]
        histories = dict(zip(part, store.histories(part), strict=True))
        rows |= {id: _readable(history) for id, history in histories.items() if history}
        asked = [id for id in part if id not in rows or _may_have_gone_on(rows[id])]
        metas = results.metas(app, ((id, rows[id].task if id in rows else "") for id in asked))
        rows |= {
            id: row for id, meta in metas.items() if (row := _with_result(rows.get(id), id, meta))
        }
        rows |= in_line(app, store, rows, histories)
    return {id: rows[id] for id in ids if id in rows}


def refusals_of(
    parent: RunId, history: History | None, told: Mapping[str, Any]
) -> list[tuple[int, RunRow]]:
    """Return the calls of a run that were skipped because their id was in use.

    Each with the number of calls before it; those that have one's id are not counted again.
    """
    return [
        (
            place[0] if place else len(told["c"]),
            RunRow(
                run_id(parent, defer_id), task, RunState.SKIPPED, defer_id=defer_id, parent=parent,
                reason=reason, refused=results.refused_of(refused), deferred_at=_made(at, history),
            ),
        )
        for defer_id, task, at, reason, refused, *place in told.get("k", ())
    ]  # fmt: skip


def dropped_by(history: History | None, told: Mapping[str, Any]) -> dict[RunId, RunRow]:
    """Return the calls of a run that waited for another end than it had."""
    outcome = _OUTCOMES.get(history.state) if history else None
    if history is None or outcome is None:
        return {}
    rows = (
        RunRow(
            run_id(history.id, defer_id), task, RunState.DROPPED, defer_id=defer_id,
            parent=history.id, deferred_at=_made(at, history),
            reason=f"its parent has {history.state.value}, and it waited for its {when}",
            tags=tags[0] if tags else {},
        )
        for defer_id, task, at, when, *tags in told.get("n", ())
        if not outcome.starts(when)
    )  # fmt: skip
    return {row.id: row for row in rows}


def wait_of(row: RunRow | None, history: History | None) -> WaitRow | None:
    """Return what a run waits for that is parked, or held back."""
    if row is not None and row.state is RunState.HELD:
        return WaitRow(row, "", "limit", row.held.since if row.held else None)
    wait = told_of(history).get("w")
    if row is None or row.state is not RunState.WAITING or not wait:
        return None
    return guard.attempt(lambda: _wait(row, wait))


def calls_of(history: History | None) -> list[RunId]:
    """Return the calls that are in a batch, by the history of its run."""
    calls = _about(history).get("m") if history else None
    return [RunId(str(id)) for id in calls] if isinstance(calls, list) else []


# -- private ------------------------------------------------------------------------------


def _made(at: float, parent: History | None) -> datetime | None:
    """Return when a call was made, by its worker's clock; by the store's its parent had started."""
    return moment(max(at, parent.started if parent else 0.0))


def _wait(row: RunRow, wait: Mapping[str, Any]) -> WaitRow:
    return WaitRow(
        row,
        wait["step"],
        wait["kind"],
        moment(wait["since"]),
        moment(wait["until"]),
        wait.get("event"),
        wait.get("match") or {},
        RunId(wait["run"]) if wait.get("run") else None,
    )


def _readable(history: History) -> RunRow:
    """Return the row of a run; what nobody can read of it must not hide the other runs."""
    return guard.attempt(lambda: _row(history)) or RunRow(history.id, "", history.state)


def _row(history: History) -> RunRow:
    about = _about(history)
    parent, told = about.get("p"), told_of(history)
    by, batch = told.get("by"), told.get("batch")
    return RunRow(
        history.id,
        about.get("t", ""),
        history.state,
        defer_id=about.get("d"),
        parent=RunId(parent) if parent else None,
        root=RunId(about.get("r") or parent or history.id),
        payload=_payload(about.get("a"), is_batched=history.state is RunState.BATCHED),
        reason=about.get("e") or _why(history, told),
        refused=results.refused_of(about.get("x")),
        tags=told.get("g") or about.get("g") or {},
        attempts=history.attempts,
        deferred_at=moment(history.deferred),
        published_at=moment(history.published),
        starts_at=_start(history, about),
        started_at=moment(history.started),
        finished_at=moment(history.finished),
        experiments=_variants(about.get("v"), told.get("v")),
        by=RunId(by) if by else None,
        batch=RunId(batch) if batch else None,
    )


def _about(history: History) -> Mapping[str, Any]:
    """Return what a run is, as its history has it."""
    about: Any = guard.attempt(lambda: encoding.loads(encoding.lengthen(history.about)))
    return about if isinstance(about, dict) else {}


def _start(history: History, about: Mapping[str, Any]) -> datetime | None:
    """Return when a run with an eta is to start, or a published one with a countdown."""
    if countdown := about.get("b"):
        return moment(history.published and history.published + countdown)
    return moment(about.get("z"))


def _why(history: History, told: Mapping[str, Any]) -> str | None:
    """Return why a run has come to its state, as it was told."""
    match history.state:
        case RunState.FAILED:
            return told.get("e")
        case RunState.ABORTED:
            return told.get("reason") or _WHY_ABORTED.get(told.get("x", 0), _REVOKED)
        case RunState.SKIPPED:
            return told.get("reason")
        case RunState.REPLACED if told.get("by"):
            return f"a later call runs in its place: run {told['by']}"
        case RunState.BATCHED if told.get("batch"):
            return f"it runs in the batch of run {told['batch']}"
        case _:
            return None


def _variants(*parts: Any) -> dict[str, str]:
    """Return the variant of each experiment, as those deferred and those taken have them."""
    taken = {name: each for part in parts if isinstance(part, dict) for name, each in part.items()}
    return {name: str(each[0]) for name, each in taken.items() if isinstance(each, list) and each}


def _payload(arguments: Any, *, is_batched: bool) -> Any:
    if not isinstance(arguments, list):
        return arguments  # what a user's function has made of it
    payload = shown(arguments)
    # A call of a batch carries a list of one payload.
    own = guard.attempt(lambda: payload["args"][0][0]) if is_batched else None
    return payload if own is None else own


def _may_have_gone_on(row: RunRow) -> bool:
    """Whether its result may say more: not all ends are written into histories."""
    is_revoked = row.state is RunState.ABORTED and row.reason == _REVOKED
    return row.state.is_open or row.state in _WITH_REASON or is_revoked


def _with_result(row: RunRow | None, id: RunId, meta: results.Meta) -> RunRow | None:
    if row is None:
        return results.row_of(id, meta)
    state = results.state_of(meta)
    if state is RunState.UNKNOWN or state.is_open:
        return row
    if not row.state.is_open:
        says_why = state in (RunState.FAILED, row.state)
        return replace(row, reason=(says_why and results.reason_of(meta)) or row.reason)
    return replace(
        row, state=state, reason=results.reason_of(meta), finished_at=results.finished_of(meta)
    )
