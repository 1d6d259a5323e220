"""``defer watch``: how many runs there are in each state, and the newest, again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from time import sleep
from typing import Any

import click

from celery_defer import views
from celery_defer.current import extension_of
from celery_defer.store import Depth, RunState
from celery_defer.views import words
from celery_defer.views.cli import options, render
from celery_defer.views.cli.command import app_in, command
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen, rendered
from celery_defer.views.cli.table import Table
from celery_defer.views.rows import RunRow

_NEWEST = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """What is shown at a moment."""

    at: datetime
    outbox: Depth
    counts: Mapping[tuple[RunState, str], int]
    newest: Sequence[RunRow]
    failed: int
    interval: float

    def tables(self) -> tuple[Table, Table]:
        """Return the counts and the newest runs, as tables."""
        return render.counts(self.counts), render.runs(self.newest, self.at)

    @property
    def title(self) -> str:
        return (
            f"{self.at:%H:%M:%S} UTC: {words.plural(self.failed, 'run')} failed in the last "
            f"{words.duration(self.interval)}; outbox: {words.depth(self.outbox)}"
        )

    def plain(self) -> dict[str, Any]:
        """Return the frame as JSON values."""
        rows = [
            {"state": state, "task": task, "runs": count}
            for (state, task), count in self.counts.items()
        ]
        failed = {"failed_in_interval": self.failed, "interval_seconds": self.interval}
        return {
            "at": self.at, "outbox": self.outbox, "counts": rows, **failed, "newest": self.newest,
        }  # fmt: skip


@command(defer, short="Show the numbers of runs and the newest ones, live.")
@click.option(
    "--interval", type=options.seconds, default=2.0, show_default=True,
    help="Seconds between two looks.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Look once, for scripts.")
def watch(ctx: Any, as_json: bool, interval: float, once: bool) -> None:
    """Show how many runs are in each state, and the newest ones, until Ctrl-C."""
    screen, look = Screen.of(ctx, as_json=as_json), partial(_look, app_in(ctx), interval)
    if once:
        _print(screen, look())
        return
    with suppress(KeyboardInterrupt):
        _live(look, interval) if screen.is_rich else _repeat(screen, look, interval)


def _look(app: Any, interval: float) -> Frame:
    now, extension = datetime.now(timezone.utc), extension_of(app)
    return Frame(
        now,
        extension.store.depth(extension.clock()),
        views.counts(app=app),
        views.runs(app=app, limit=_NEWEST).rows,
        views.failed(app=app, since=now - timedelta(seconds=interval)),
        interval,
    )


def _print(screen: Screen, frame: Frame) -> None:
    if screen.as_json:
        screen.json(frame.plain())
        return
    screen.line(frame.title)
    for table in frame.tables():
        if table.rows:
            screen.line()
            screen.show(table)


def _repeat(screen: Screen, look: Callable[[], Frame], interval: float) -> None:
    while True:
        _print(screen, look())
        sleep(interval)


def _live(look: Callable[[], Frame], interval: float) -> None:
    from rich.console import Group  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    def draw() -> Group:
        frame = look()
        return Group(frame.title, "", *(rendered(table) for table in frame.tables()))

    with Live(draw(), auto_refresh=False, screen=True) as live:
        while True:
            sleep(interval)
            live.update(draw(), refresh=True)
