"""``defer wake``, ``abort``, ``cancel`` and ``restart``: what a person does to a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from celery_defer import app as control
from celery_defer import views
from celery_defer.current import extension_of
from celery_defer.errors import NoRecordError
from celery_defer.ids import run_id
from celery_defer.outbox import has_ended
from celery_defer.store import RunState
from celery_defer.views.cli import options
from celery_defer.views.cli.command import Problem, command, confirm, extension_in
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen

_ENDED = frozenset(state for state in RunState if not state.is_open) - {RunState.UNKNOWN}


@command(defer)
@click.argument("run", type=options.name)
def wake(ctx: Any, as_json: bool, run: str) -> None:
    """End the wait of RUN now, as if its time was up."""
    app = extension_in(ctx).app
    if not control.wake(run, app=app):
        state = _state_of(app, run)
        if state is None:
            raise Problem(f"nothing is known of run {run}")
        if state is RunState.HELD:
            raise Problem(
                f"run {run} stands in line: `limits` shows and changes what holds it back"
            )
        raise Problem(f"run {run} does not wait: `show` says what became of it")
    _say(ctx, as_json, f"run {run} goes on", woken=run)


@command(defer, short="Withdraw a call whose run has not started.")
@click.argument("parent", type=options.name)
@click.argument("id", type=options.name)
@options.yes
def abort(ctx: Any, as_json: bool, parent: str, id: str, yes: bool) -> None:
    """Withdraw what the run PARENT has deferred as ID, if that has not started."""
    app = extension_in(ctx).app
    confirm(f"Abort {id!r} of run {parent}? It will never run.", yes=yes)
    if not control.abort(parent, id, app=app):
        if reason := _why_dropped(app, parent, id):
            raise Problem(f"{id!r} of run {parent} was dropped: {reason}")
        if _state_of(app, run_id(parent, id)) is None:
            raise Problem(f"run {parent} has ended, and has deferred nothing as {id!r}")
        raise Problem(f"{id!r} of run {parent} has started: `cancel` ends a run in progress")
    note = "" if _is_known(app, parent) else f"; nothing is known of run {parent} yet"
    _say(ctx, as_json, f"{id!r} of run {parent} is aborted{note}", aborted=id, parent=parent)


@command(defer, short="End a run as REVOKED.")
@click.argument("run", type=options.name)
@click.option("--terminate", is_flag=True, help="Kill the process that runs it.")
@options.yes
def cancel(ctx: Any, as_json: bool, run: str, terminate: bool, yes: bool) -> None:
    """End RUN as REVOKED: at once if it waits, else where its next step begins."""
    app = extension_in(ctx).app
    confirm(f"Cancel run {run}? It ends as REVOKED.", yes=yes)
    state = _state_of(app, run)
    is_over = has_ended(app, run) or state in _ENDED
    if control.cancel(run, terminate=terminate, app=app):
        _say(ctx, as_json, f"run {run} has ended", cancelled=run, has_ended=True)
        return
    if is_over and not terminate:
        raise Problem(f"run {run} has ended already: `show` says how")
    note = "" if state else "nothing is known of it: "
    text = f"{note}it does not start if it is in a queue, and ends with its next step if it runs"
    _say(ctx, as_json, f"run {run} is revoked; {text}", cancelled=run, has_ended=False)


@command(defer, short="Let a run go on that has failed or was cancelled.")
@click.argument("run", type=options.name)
@click.option("--from", "from_step", metavar="STEP", help="Run this step and later ones again.")
@options.yes
def restart(ctx: Any, as_json: bool, run: str, from_step: str | None, yes: bool) -> None:
    """Let RUN, which has failed or was cancelled, go on: where it ended, or from a step."""
    app = extension_in(ctx).app
    steps = control.plan_restart(run, from_step=from_step, app=app).repeat.steps
    confirm(f"Restart run {run}? {_again(steps)}", yes=yes)
    control.restart(run, from_step=from_step, app=app)
    _say(ctx, as_json, f"run {run} goes on. {_again(steps)}", restarted=run, again=steps)


def _is_known(app: Any, run: str) -> bool:
    """Whether more is known of a run than that somebody has revoked its id."""
    try:
        row = views.record(run, app=app, most=0).run
    except NoRecordError:
        return not extension_of(app).settings.record
    return bool(row.task) or row.state is not RunState.ABORTED


def _state_of(app: Any, run: str) -> RunState | None:
    """Return the state of a run; None if nothing is known of it, UNKNOWN if none are recorded."""
    try:
        return views.record(run, app=app, most=0).run.state
    except NoRecordError:
        return None if extension_of(app).settings.record else RunState.UNKNOWN


def _why_dropped(app: Any, parent: str, id: str) -> str | None:
    """Return why a run has dropped a call; None if it has not, or that is not known."""
    try:
        calls = views.record(parent, app=app).defers
    except NoRecordError:
        return None
    dropped = {row.defer_id: row.reason for row in calls if row.state is RunState.DROPPED}
    return dropped.get(id)


def _again(steps: Sequence[str]) -> str:
    if not steps:
        return "No finished step is run again."
    return f"These steps are run again: {', '.join(steps)}."


def _say(context: Any, as_json: bool, text: str, **values: Any) -> None:
    screen = Screen.of(context, as_json=as_json)
    screen.json(values) if as_json else screen.line(text)
