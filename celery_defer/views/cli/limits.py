"""``defer limits``: what holds runs back, and how a person changes it."""

from __future__ import annotations

from typing import Any

import click

from celery_defer import app as control
from celery_defer import views
from celery_defer.views.cli import numbers, options
from celery_defer.views.cli.command import UsageProblem, command, extension_in, subgroup
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen


@subgroup(defer, short="Show the limits of tasks, and who waits for them.")
@click.option("--task", type=options.name, help="Only those of this task.")
def limits(ctx: Any, as_json: bool, task: str | None) -> None:
    """Show the limits that are in force, how many places are in use, and how many runs are held."""
    screen = Screen.of(ctx, as_json=as_json)
    rows = views.limits(app=extension_in(ctx).app, task=task)
    if as_json:
        screen.json({"rows": rows})
    elif rows:
        screen.show(numbers.limits(rows))
    else:
        screen.line(f"task {task} has no limits" if task else "no task has limits")


@command(limits, "set", short="Change a limit for all workers, without a deploy.")
@click.argument("task", type=options.name)
@click.argument("limit", type=options.name)
@click.option("--limit", "count", type=int, metavar="N", help="How many runs.")
@click.option("--period", type=options.length, metavar="DURATION", help="In how long: 90s, 1h, 7d.")
@click.option("--burst", type=int, metavar="N", help="How many may start at once.")
def set_limit(
    ctx: Any, as_json: bool, task: str, limit: str, count: int | None, **more: Any
) -> None:
    """Change numbers of LIMIT of TASK, for what waits too; other numbers stay as they are."""
    if count is None and not any(each is not None for each in more.values()):
        raise UsageProblem("give --limit, --period or --burst")
    app = extension_in(ctx).app
    control.set_limit(task, limit, limit=count, **more, app=app)
    _say(ctx, as_json, f"{limit} of {task} is changed", task=task, limit=limit)


@command(limits, short="Let the numbers in the code hold again.")
@click.argument("task", type=options.name)
@click.argument("limit", type=options.name)
def unset(ctx: Any, as_json: bool, task: str, limit: str) -> None:
    """End what `set` has changed of LIMIT of TASK: the numbers in the code hold again."""
    control.set_limit(task, limit, app=extension_in(ctx).app)
    _say(ctx, as_json, f"{limit} of {task} is as in the code", task=task, limit=limit)


@command(limits, short="Hold back the runs of a task.")
@click.argument("task", type=options.name)
def pause(ctx: Any, as_json: bool, task: str) -> None:
    """Hold back the runs of TASK: those in progress go on, no other starts, and none is lost."""
    control.pause(task, app=extension_in(ctx).app)
    _say(ctx, as_json, f"{task} is paused: `limits resume` lets it go on", paused=task)


@command(limits, short="Let the runs of a paused task start again.")
@click.argument("task", type=options.name)
def resume(ctx: Any, as_json: bool, task: str) -> None:
    """Let the runs of TASK start again, as its limits allow."""
    control.resume(task, app=extension_in(ctx).app)
    _say(ctx, as_json, f"{task} goes on", resumed=task)


def _say(context: Any, as_json: bool, text: str, **values: Any) -> None:
    screen = Screen.of(context, as_json=as_json)
    screen.json(values) if as_json else screen.line(text)
