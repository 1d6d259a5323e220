"""``defer scores``: how well runs did."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import click

from celery_defer import views
from celery_defer.current import extension_of
from celery_defer.scoring import scores as written
from celery_defer.store import ScoreRow
from celery_defer.views.cli import numbers, options
from celery_defer.views.cli.command import Problem, UsageProblem, command, extension_in
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen
from celery_defer.views.rows import Page


@command(defer, short="List the scores of a run, or of all runs.")
@click.argument("run", type=options.name, required=False)
@click.option("--task", type=options.name, help="Only runs of this task.")
@click.option("--experiment", type=options.name, metavar="ID", help="Only scores that count in it.")
@click.option("--orphans", is_flag=True, help="Only scores of runs that nobody knew.")
@click.option("--history", is_flag=True, help="Earlier scores of the same name too.")
@click.option(
    "--since", type=options.moment, metavar="TIME",
    help="Only scores since then: 1h, 7d, or ISO 8601.",
)  # fmt: skip
@options.limit_runs
@options.cursor
def scores(ctx: Any, as_json: bool, run: str | None, **filters: Any) -> None:
    """List the scores of RUN, or of all runs, those of the run scored last first."""
    screen, app = Screen.of(ctx, as_json=as_json), extension_in(ctx).app
    page = _page(app, run, **filters)
    now = datetime.now(timezone.utc)
    screen.page(page, lambda rows: numbers.scores(rows, now), "no scores")


def _page(
    app: Any, run: str | None, task: str | None, experiment: str | None, orphans: bool, **more: Any
) -> Page[ScoreRow]:
    if len([each for each in (run, task, experiment, orphans) if each]) > 1:
        raise UsageProblem("give RUN, --task, --experiment or --orphans, and only one of them")
    if run:
        return _of_run(app, run, more["history"], more["since"])
    if experiment:
        return _in_experiment(app, experiment, **more)
    if orphans:
        return views.orphans(app=app, **more)
    return views.scored(app=app, task=task, **more)


def _in_experiment(app: Any, id: str, **more: Any) -> Page[ScoreRow]:
    page = views.scored_in(id, app=app, **more)
    if not page.rows and id not in views.experiments(app=app):
        raise Problem(
            f"No run has taken part in experiment '{id}' yet: `compare` without an id lists those "
            "there are"
        )
    return page


def _of_run(app: Any, run: str, history: bool, since: datetime | None) -> Page[ScoreRow]:
    rows = written.of_run(run, history=history, app=app)
    if not rows and extension_of(app).settings.record:
        views.record(run, app=app, most=0)  # raises NoRecordError for an id of no run
    return Page([row for row in rows if since is None or row.at >= since.timestamp()])
