"""``defer quarantine``: what could not be read or published, and what a person decides about it."""

from __future__ import annotations

from typing import Any

import click

from celery_defer import views
from celery_defer.app import drop_quarantined, retry_quarantined
from celery_defer.ids import RunId
from celery_defer.views import words
from celery_defer.views.cli import options, render
from celery_defer.views.cli.command import FOUND, command, confirm, extension_in, subgroup
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen


@subgroup(defer, short="List what could not be read or published.")
@click.option("--fail-if-any", is_flag=True, help="Exit with status 1 if there is a record.")
def quarantine(ctx: Any, as_json: bool, fail_if_any: bool) -> None:
    """List the records that could not be read or published, each with the reason."""
    page = views.quarantine(app=extension_in(ctx).app)
    Screen.of(ctx, as_json=as_json).page(page, render.quarantine, "nothing is in quarantine")
    if fail_if_any and page.rows:
        ctx.exit(FOUND)


@command(quarantine, "retry", short="Put records back into the outbox.")
@click.argument("records", metavar="RECORD...", nargs=-1, required=True, type=options.name)
def retry(ctx: Any, as_json: bool, records: tuple[str, ...]) -> None:
    """Put each RECORD back into the outbox; runs that have started do not start again."""
    app, screen = extension_in(ctx).app, Screen.of(ctx, as_json=as_json)
    for record in records:
        retry_quarantined(record, app=app)
        screen.line(f"{record} is in the outbox, due now")
    if as_json:
        screen.json({"retried": records})


@command(quarantine, "drop", short="Remove records for good.")
@click.argument("records", metavar="RECORD...", nargs=-1, required=True, type=options.name)
@options.yes
def drop(ctx: Any, as_json: bool, records: tuple[str, ...], yes: bool) -> None:
    """Remove each RECORD for good; the runs of its calls end as FAILURE."""
    app, screen = extension_in(ctx).app, Screen.of(ctx, as_json=as_json)
    confirm(f"Drop {words.plural(len(records), 'record')}? Its calls will never run.", yes=yes)
    failed: list[RunId] = []
    for record in records:
        ended = drop_quarantined(record, app=app)
        screen.line(f"{record} is dropped; {words.plural(len(ended), 'run')} failed with it")
        failed += ended
    if as_json:
        screen.json({"dropped": records, "failed": failed})
