"""The record of a run that leaves its worker: all that its next message needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery_defer.outbox import HeldAt, ParkedRun, pack, unpack
from celery_defer.run import WAKE, Scope
from celery_defer.steps.retention import headers_of

_OF_THE_MESSAGE = frozenset({"task_id", "origin", "redelivered", "delivery_tag", "consumer_tag"})


def record_of(
    run: Scope,
    turn: int,
    *,
    headers: Mapping[str, Any],
    child: tuple[str, str] | None = None,
    held: HeldAt = HeldAt.NOWHERE,
) -> tuple[ParkedRun, bytes]:
    """Return the record by which a message begins *turn* of a run, and its body.

    Raises ValueError, or the error of a serializer, for arguments that are not JSON.
    """
    args, kwargs = run.arguments()
    record = ParkedRun(
        id=run.run.id,
        task=run.task.name,
        turn=turn,
        args=args,
        kwargs=kwargs,
        options=_options(run, expires=held is HeldAt.START),
        child=child,
        headers={**_headers(run), **headers},
        hostname=run.context.hostname,
        held=held,
    )
    body = pack(record)
    _check_args(run, record, body)
    return record, body


# -- private ------------------------------------------------------------------------------


def _check_args(run: Scope, record: ParkedRun, body: bytes) -> None:
    """Raise ValueError for arguments that JSON would change; pickle allows such."""
    if (getattr(run.task, "serializer", None) or run.app.conf.task_serializer) == "json":
        return
    copy = unpack(record.id, body)
    assert isinstance(copy, ParkedRun)  # noqa: S101
    if [list(copy.args), dict(copy.kwargs)] != [list(record.args), dict(record.kwargs)]:
        raise ValueError("they would come back otherwise: tuples as lists, other keys as text")


def _options(run: Scope, *, expires: bool) -> dict[str, Any]:
    """Return the options with which Celery would publish a retry, without those of the message.

    When that *expires* still counts for a run that has not begun.
    """
    options = {
        **_declared(run),
        **run.task.signature_from_request(run.context).options,
        "ignore_result": run.ignores_result,  # which Celery before 5.7 forgets
    }
    return {
        name: value
        for name, value in options.items()
        if value is not None
        and name not in _OF_THE_MESSAGE
        and name != "headers"
        and (expires or name != "expires")
    }


def _declared(run: Scope) -> dict[str, Any]:
    """Return the task's own options for messages: celery.app.task.extract_exec_options."""
    names = ("serializer", "compression", "delivery_mode")
    options = {name: getattr(run.task, name, None) for name in names}
    if options["serializer"] == run.app.conf.task_serializer:
        del options["serializer"]
    return options


def _headers(run: Scope) -> dict[str, Any]:
    return {name: value for name, value in headers_of(run).items() if name != WAKE}
