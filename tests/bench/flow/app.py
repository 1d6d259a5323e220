"""The app under test: ``celery -A tests.bench.flow.app worker``."""

from __future__ import annotations

from dataclasses import replace
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
    """Notes when a body has ended, and when its result is stored."""

    abstract = True
    ended = stored = 0.0


@signals.task_postrun.connect
def _on_end(sender: Any, **_: Any) -> None:
    """Tell it when the place has been given back, so that it takes no time before."""
    if isinstance(sender, Timed):
        tell(ended=sender.ended, over=sender.stored)


def _note_results() -> None:
    """Note when Redis has replied that a result is stored, and its place given back with it."""
    extension: Any = extension_of(app)
    store = extension.store
    giving = store.giving

    def noted(*args: Any, **times: Any) -> Any:
        found = giving(*args, **times)

        def read(rows: Any) -> Any:
            app.tasks["bench.turns"].stored = monotonic()
            return found.read(rows)

        return replace(found, read=read)

    store.giving = noted


# A worker without the package does not even import it.
if config["defer"]:
    from celery_defer.current import extension_of
    from tests.bench.flow.functions import declare

    declare(app, tell, await_turn, with_limits=config["limits"], timed=Timed)
    _note_results()
