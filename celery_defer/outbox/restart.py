"""How a run that has ended goes on: its message is published again, as that of a parked run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Any

from celery.app.task import Context

from celery_defer.errors import RestartError
from celery_defer.model import WAITING
from celery_defer.outbox import history, records
from celery_defer.outbox.end import ending_of
from celery_defer.outbox.parked import HeldAt, ParkedRun
from celery_defer.store import Restart

#: Where a run goes on that is not restarted from a step.
WHERE_IT_ENDED = "restart"
# Seconds after which a relay publishes the run, if this process has not said that it may.
_LEASE = 10.0
# The run's chord has counted its end.
_COUNTED = frozenset({"chord", "group_id", "group_index"})


def begin_again(
    extension: Any,
    run: ParkedRun,
    turn: int,
    step: str | None = None,
    *,
    forgets: Sequence[str] = (),
    events: Sequence[str] = (),
) -> None:
    """Let a run that has ended in *turn* go on, without the memos of the steps it *forgets*.

    Those steps may receive their *events* again. Raises RestartError if it is in another turn.
    """
    at = step or WHERE_IT_ENDED
    options = {name: value for name, value in run.options.items() if name not in _COUNTED}
    run = replace(run, turn=turn + 1, options=options, held=HeldAt.RESTART)
    restart = Restart(
        turn, at, token_hex(4), records.pack(run), forgets, events, ending=ending_of(run)
    )
    keep = extension.settings.outbox_keeps
    if not extension.store.restart(run.id, restart, extension.clock() + _LEASE, keep):
        raise RestartError(
            f"run {run.id} cannot be restarted now: it is in progress or waits, or what it has "
            "deferred is still in the outbox: look at it with `show`, and try again"
        )
    _report(extension.app, run, at)
    extension.store.note(history.restarted(extension, run.id, run.task, at))
    extension.store.hasten(run.id, extension.clock())


def _report(app: Any, run: ParkedRun, step: str) -> None:
    """Store that the run waits: a relay does not wake a run whose end is stored."""
    task = app.tasks.get(run.task, app)
    if run.options.get("ignore_result"):
        return
    request = Context(id=run.id, task=run.task, root_id=run.options.get("root_id"),
                      parent_id=run.options.get("parent_id"))  # fmt: skip
    meta = {"step": step, "waiting_for": "restart", "until": None}
    task.backend.store_result(run.id, meta, WAITING, request=request)
