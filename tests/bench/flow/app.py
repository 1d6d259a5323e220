"""The app under test: ``celery -A tests.bench.flow.app worker``."""

from __future__ import annotations

from time import monotonic
from typing import Any

from celery import Task, signals

from tests.bench.app import app, config, records, tell

__all__ = ["app"]


def await_turn() -> None:
    """Wait until the bench lets one body end."""
    while records.blpop([config["queue"] + "-turn"], timeout=1) is None:
        pass


class Timed(Task):  # type: ignore[misc]
    """Notes when a body has ended, and when its result is stored: Celery calls this next."""

    abstract = True
    ended = stored = 0.0

    def on_success(self, *_: Any) -> None:
        self.stored = monotonic()


@signals.task_postrun.connect
def _on_end(sender: Any, **_: Any) -> None:
    """Tell it when the place has been given back, so that it takes no time before."""
    if isinstance(sender, Timed):
        tell(ended=sender.ended, over=sender.stored)


# A worker without the package does not even import it.
if config["defer"]:
    from tests.bench.flow.functions import declare

    declare(app, tell, await_turn, with_limits=config["limits"], timed=Timed)
