"""``defer outbox``: what has still to be published."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import click

from celery_defer import views
from celery_defer.app import retry
from celery_defer.views import words
from celery_defer.views.cli import options, render
from celery_defer.views.cli.command import FOUND, Problem, command, extension_in, subgroup
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen


@subgroup(defer, short="List what has still to be published, or waits.")
@options.limit
@click.option(
    "--fail-older-than", type=options.length, metavar="DURATION",
    help="Exit with status 1 if a record has been due for longer, such as 5m.",
)  # fmt: skip
def outbox(ctx: Any, as_json: bool, limit: int, fail_older_than: float | None) -> None:
    """Count and list the records that wait: for a parent's end, a broker, or as a parked run."""
    screen, extension = Screen.of(ctx, as_json=as_json), extension_in(ctx)
    depth = extension.store.depth(extension.clock())
    rows = views.outbox(app=extension.app, limit=limit).rows
    if as_json:
        screen.json({"depth": depth, "rows": rows})
    else:
        screen.line(words.depth(depth))
        if rows:
            screen.show(render.outbox(rows, datetime.now(timezone.utc)))
    if fail_older_than is not None and depth.late > fail_older_than:
        ctx.exit(FOUND)


@command(outbox, "retry")
@click.argument("records", metavar="RECORD...", nargs=-1, required=True, type=options.name)
def retry_now(ctx: Any, as_json: bool, records: tuple[str, ...]) -> None:
    """Let a relay look at each RECORD now."""
    app, screen = extension_in(ctx).app, Screen.of(ctx, as_json=as_json)
    for record in records:
        if not retry(record, app=app):
            raise Problem(f"no record {record!r} is in the outbox")
        screen.line(f"{record} is due now")
    if as_json:
        screen.json({"due": records})
