"""``defer check``: what would not work, or could lose work."""

from __future__ import annotations

from typing import Any

import click

from celery_defer.views.check import check as find_problems
from celery_defer.views.cli import options
from celery_defer.views.cli.command import AWAY_STATUS, FOUND, command, defer_in
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen
from celery_defer.views.cli.table import Fields
from celery_defer.views.live import Live, look


@command(defer, short="List what would not work, or could lose work.")
@click.option(
    "--fail-level", type=click.Choice(["error", "warning"]), default="error", show_default=True,
    help="The level of a problem from which on the exit status is 1.",
)  # fmt: skip
@click.option("--live", is_flag=True, help="Ask the running system too: its store, its workers.")
@click.option(
    "--timeout", type=options.seconds, default=1.0, show_default=True,
    help="How many seconds to wait for the workers.",
)  # fmt: skip
def check(ctx: Any, as_json: bool, fail_level: str, live: bool, timeout: float) -> None:
    """List what in the app would not work, or could lose work, and how to mend it."""
    app, screen = defer_in(ctx).app, Screen.of(ctx, as_json=as_json)
    problems = find_problems(app)
    has_store = not any(
        problem.level == "error" and problem.subject in ("store", "settings")
        for problem in problems
    )
    system = look(app, timeout=timeout) if live and has_store else Live({}, [])
    problems += system.problems
    if as_json:
        screen.json({"problems": problems, "facts": system.facts, "values": system.values})
    else:
        _print(screen, system, problems)
    if any(problem.is_away for problem in problems):
        ctx.exit(AWAY_STATUS)
    if any(problem.level in ("error", fail_level) for problem in problems):
        ctx.exit(FOUND)


def _print(screen: Screen, system: Live, problems: list[Any]) -> None:
    if system.facts:
        screen.show(Fields(list(system.facts.items())))
        screen.line()
    if problems:
        screen.lines([("", each.level, f": {each.subject}: {each.text}") for each in problems])
    else:
        screen.line("no problems")
