"""``defer tree``, ``defer show`` and ``defer runs``: what became of runs."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import click

from celery_defer import views
from celery_defer.store import RunState
from celery_defer.views.cli import options, render
from celery_defer.views.cli.command import app_in, command
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen
from celery_defer.views.rows import STATES

_STATES = [state.value for state in STATES]


@command(defer)
@click.argument("run", type=options.name)
def tree(ctx: Any, as_json: bool, run: str) -> None:
    """Show RUN and the runs below it, to any depth."""
    screen = Screen.of(ctx, as_json=as_json)
    root, now = views.tree(run, app=app_in(ctx)), datetime.now(timezone.utc)
    screen.json(root) if as_json else screen.lines(render.tree(root, now, screen.width))


@command(defer, short="Show all that is known of a run.")
@click.argument("run", type=options.name)
def show(ctx: Any, as_json: bool, run: str) -> None:
    """Show all that is known of RUN: its state, times, payload, steps, defers, scores, siblings."""
    screen = Screen.of(ctx, as_json=as_json)
    record = views.record(run, app=app_in(ctx))
    if as_json:
        screen.json(record)
        return
    for title, block in render.record(record, datetime.now(timezone.utc)):
        if title:
            screen.title(title)
        screen.show(block)


@command(defer)
@click.option("--state", type=click.Choice(_STATES), help="Only runs in this state.")
@click.option("--task", help="Only runs of this task.")
@click.option("--parent", metavar="RUN", help="Only what this run has deferred.")
@click.option("--tag", type=options.tag, metavar="KEY=VALUE", help="Only runs with this tag.")
@click.option(
    "--since",
    type=options.moment,
    metavar="TIME",
    help="Only runs since then: 1h, 7d, or ISO 8601.",
)
@options.limit
@options.cursor
def runs(ctx: Any, as_json: bool, state: str | None, **filters: Any) -> None:
    """List runs, newest first."""
    screen = Screen.of(ctx, as_json=as_json)
    wanted = RunState(state) if state else None
    page = views.runs(app=app_in(ctx), state=wanted, **filters)
    screen.page(page, lambda rows: render.runs(rows, datetime.now(timezone.utc)), "no runs")
