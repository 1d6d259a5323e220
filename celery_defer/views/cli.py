"""``celery -A app defer``: what is in the outbox."""

from __future__ import annotations

from time import time
from typing import Any

import click
from celery.bin.base import CeleryCommand, handle_preload_options

from celery_defer.current import extension_of
from celery_defer.errors import StoreError
from celery_defer.store import Store


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
    """List the records that nobody could read or publish, each with the reason."""
    entries = _store(ctx).quarantined()
    for entry in entries:
        click.echo(f"{entry.id}  {entry.reason}")
    if not entries:
        click.echo("nothing is in quarantine")


def _store(ctx: Any) -> Store:
    extension = extension_of(ctx.obj.app)
    if extension is None:
        raise click.UsageError("this app has no Defer(app)")
    if extension.store is None:
        raise click.UsageError(str(StoreError()))
    store: Store = extension.store
    return store
