"""The command ``defer`` of Celery's own, below which the others are."""

from __future__ import annotations

import click


@click.group(name="defer")
def defer() -> None:
    """Deferred runs: what became of them, what they wait for, what is stuck."""
