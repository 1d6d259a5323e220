"""``defer waiting``: what runs wait for."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import click

from celery_defer import views
from celery_defer.views.cli import options, render
from celery_defer.views.cli.command import FOUND, app_in, command
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen
from celery_defer.views.rows import KINDS

# A relay wakes a run within seconds after its wait.
_LATE = timedelta(minutes=1)


@command(defer, short="List the runs that wait, and for what.")
@click.option("--event", help="Only runs that wait for this event.")
@click.option("--task", help="Only runs of this task.")
@click.option("--kind", type=click.Choice(KINDS), help="Only runs that wait for this.")
@options.limit
@options.cursor
@click.option(
    "--fail-late", is_flag=True,
    help="Exit with status 1 if a wait on this page is over for more than a minute.",
)  # fmt: skip
def waiting(ctx: Any, as_json: bool, fail_late: bool, **filters: Any) -> None:
    """List the runs that wait: for what, since when, and until when at the latest."""
    screen = Screen.of(ctx, as_json=as_json)
    page = views.waiting(app=app_in(ctx), **filters)
    now = datetime.now(timezone.utc)
    screen.page(page, lambda rows: render.waiting(rows, now), "no run waits")
    if fail_late and any(row.until and row.until < now - _LATE for row in page.rows):
        ctx.exit(FOUND)
