"""The app under test: ``celery -A tests.bench.flow.app worker``."""

from __future__ import annotations

from time import monotonic
from typing import Any

from celery import signals

from tests.bench.app import app, config, records, tell

__all__ = ["app"]


def await_turn() -> None:
    """Wait until the bench lets one body end."""
    while records.blpop([config["queue"] + "-turn"], timeout=1) is None:
        pass


@signals.task_postrun.connect
def _on_end(sender: Any, **_: Any) -> None:
    """The result is stored, and the place is given back next."""
    if sender.name == "bench.turns":
        tell(over=monotonic())


# A worker without the package does not even import it.
if config["defer"]:
    from tests.bench.flow.functions import declare

    declare(app, tell, await_turn, with_limits=config["limits"])
