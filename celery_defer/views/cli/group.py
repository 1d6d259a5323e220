"""The command ``defer`` of Celery's own, below which the others are."""

from __future__ import annotations

import click

from celery_defer.views.cli.command import DeferGroup


@click.group(name="defer", cls=DeferGroup)
def defer() -> None:
    """Deferred runs: what became of them, what they wait for, what is stuck."""
