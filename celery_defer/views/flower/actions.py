"""What the buttons of the Deferred tab do: the actions of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery_defer.app import (
    abort,
    cancel,
    drop_quarantined,
    pause,
    restart,
    resume,
    retry,
    retry_quarantined,
    wake,
)
from celery_defer.events import Woken, send_event
from celery_defer.ids import run_id
from celery_defer.views import words
from celery_defer.views.flower.errors import PageError

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Action:
    """One button: what it calls with the fields of its form, and what it says afterwards.

    It asks *question* first, if it has one. ``back`` is the page that follows; without one it is
    the page of the run in the field ``id``.
    """

    label: str
    fields: Sequence[str]
    call: Callable[..., Any]
    outcome: Callable[[Fields, Any], str]
    question: str | None = None
    back: str | None = None


def run_of(fields: Fields) -> str:
    """Return the run whose page follows an action."""
    return fields.get("id") or run_id(fields["parent"], fields["defer_id"])


def _call(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda fields, app: function(*fields.values(), app=app)


def _send(fields: Fields, app: Any) -> Woken:
    try:
        data = json.loads(fields["data"] or "null")
    except ValueError as error:
        raise PageError(400, f"The event's data is not JSON: {error}") from error
    return send_event(fields["name"], data, app=app)


def _sent(fields: Fields, woken: Woken) -> str:
    runs = words.plural(int(woken), "run")
    more = ", and wakes more in a moment" if woken.has_more else ""
    ended = f", and cancelled {words.plural(woken.cancelled, 'run')}" if woken.cancelled else ""
    return f"Event {fields['name']!r} has woken {runs}{ended}{more}."


def _dropped(fields: Fields, runs: Sequence[str]) -> str:
    failed = f"; {words.plural(len(runs), 'run')} failed with it" if runs else ""
    return f"Record {fields['id']} is dropped{failed}."


def _restarted(_: Fields, steps: Sequence[str]) -> str:
    again = f" Run again: {', '.join(steps)}." if steps else ""
    return f"The run goes on where it ended.{again}"


#: By the last part of their address.
ACTIONS: Mapping[str, Action] = {
    "wake": Action(
        "Wake",
        ("id",),
        _call(wake),
        lambda _, is_woken: "The run goes on." if is_woken else "The run does not wait.",
    ),
    "cancel": Action(
        "Cancel",
        ("id",),
        _call(cancel),
        lambda _, has_ended: (
            "The run has ended as REVOKED."
            if has_ended
            else "The run ends at its next step, or does not start."
        ),
        question="Cancel this run? It ends as REVOKED, and cannot be resumed.",
    ),
    "abort": Action(
        "Abort",
        ("parent", "defer_id"),
        _call(abort),
        lambda _, is_aborted: (
            "The call is withdrawn: its run does not start."
            if is_aborted
            else "The run has started: it can be cancelled."
        ),
        question="Withdraw this call? Its run will never start.",
    ),
    "restart": Action(
        "Restart",
        ("id",),
        _call(restart),
        _restarted,
        question="Restart this run? It goes on where it ended; its finished steps are kept.",
    ),
    "retry": Action(
        "Retry",
        ("id",),
        _call(retry),
        lambda fields, is_there: (
            f"Record {fields['id']} is due now."
            if is_there
            else f"Record {fields['id']} has left the outbox."
        ),
        back="deferred-outbox",
    ),
    "retry-quarantined": Action(
        "Retry",
        ("id",),
        _call(retry_quarantined),
        lambda fields, _: f"Record {fields['id']} is back in the outbox.",
        back="deferred-outbox",
    ),
    "drop-quarantined": Action(
        "Drop",
        ("id",),
        _call(drop_quarantined),
        _dropped,
        question="Drop this record? The calls in it are lost.",
        back="deferred-outbox",
    ),
    "pause": Action(
        "Pause",
        ("task",),
        _call(pause),
        lambda fields, _: f"Task {fields['task']} is paused: its next runs wait in line.",
        back="deferred-limits",
    ),
    "resume": Action(
        "Resume",
        ("task",),
        _call(resume),
        lambda fields, _: f"Task {fields['task']} goes on.",
        back="deferred-limits",
    ),
    "send-event": Action("Send", ("name", "data"), _send, _sent, back="deferred-waiting"),
}
