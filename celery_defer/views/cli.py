"""``celery -A app defer``: what is in the outbox, and what is wrong with the app."""

from __future__ import annotations

import json
from dataclasses import asdict
from time import time
from typing import Any

import click
from celery.bin.base import CeleryCommand, handle_preload_options

from celery_defer.current import extension_of
from celery_defer.errors import StoreError
from celery_defer.store import Store
from celery_defer.views.check import check as find_problems


@click.group(name="defer", help="Deferred calls: what waits, and what could not be published.")
def defer() -> None:
    pass


@defer.command(cls=CeleryCommand)
@click.pass_context
@handle_preload_options
def outbox(ctx: Any) -> None:
    """Count the records that wait: for their parent's end, for a broker, or as a parked run."""
    store = _store(ctx)
    click.echo(
        f"{store.waiting()} waiting, {store.waiting(time())} of them due now, "
        f"{len(store.quarantined())} in quarantine"
    )


@defer.command(cls=CeleryCommand)
@click.pass_context
@handle_preload_options
def quarantine(ctx: Any) -> None:
    """List the records that could not be read or published, each with the reason."""
    entries = _store(ctx).quarantined()
    for entry in entries:
        click.echo(f"{entry.id}  {entry.reason}")
    if not entries:
        click.echo("nothing is in quarantine")


@defer.command(cls=CeleryCommand)
@click.option(
    "--fail-level",
    type=click.Choice(["error", "warning"]),
    default="error",
    help="The level of a problem from which on the exit status is 1.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, for scripts.")
@click.pass_context
@handle_preload_options
def check(ctx: Any, fail_level: str, as_json: bool) -> None:
    """List what in the app would not work, or could lose work, and how to mend it."""
    problems = find_problems(_extension(ctx).app)
    rows = [f"{problem.level}: {problem.subject}: {problem.text}" for problem in problems]
    as_text = "\n".join(rows) or "no problems"
    click.echo(json.dumps(list(map(asdict, problems)), indent=2) if as_json else as_text)
    if any(problem.level in ("error", fail_level) for problem in problems):
        ctx.exit(1)


def _extension(ctx: Any) -> Any:
    extension = extension_of(ctx.obj.app)
    if extension is None:
        raise click.UsageError("this app has no Defer(app)")
    return extension


def _store(ctx: Any) -> Store:
    extension = _extension(ctx)
    if extension.store is None:
        raise click.UsageError(str(StoreError()))
    store: Store = extension.store
    return store
