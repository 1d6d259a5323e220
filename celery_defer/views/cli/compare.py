"""``defer compare``: how the variants of an experiment compare."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from celery_defer import views
from celery_defer.scoring import Comparison
from celery_defer.scoring import compare as read
from celery_defer.views.cli import numbers, options
from celery_defer.views.cli.command import Problem, UsageProblem, command, extension_in
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen


@command(defer, short="Compare the variants of an experiment.")
@click.argument("experiment", type=options.name, required=False)
@click.option("--baseline", metavar="VARIANT", help="Compare the others with this variant.")
@click.option(
    "--effect", "effects", type=options.effect, metavar="SCORE=NUMBER", multiple=True,
    help="The smallest difference that matters.",
)  # fmt: skip
@click.option(
    "--since", type=options.moment, metavar="TIME",
    help="Only runs that have taken their variant since then: 1h, 7d, or ISO 8601.",
)  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line for each variant and score.")
def compare(ctx: Any, as_json: bool, experiment: str | None, as_csv: bool, **filters: Any) -> None:
    """Compare the variants of EXPERIMENT, or list the experiments."""
    if as_csv and (as_json or not experiment):
        raise UsageProblem("--csv is for one EXPERIMENT, and not together with --json")
    screen, app = Screen.of(ctx, as_json=as_json), extension_in(ctx).app
    if experiment is None:
        _list(screen, views.experiments(app=app))
        return
    comparison = _read(app, experiment, **filters)
    if as_csv:
        click.echo(comparison.as_csv(), nl=False)
    elif as_json:
        screen.json(comparison.as_json())
    else:
        _print(screen, comparison)


def _read(
    app: Any, id: str, effects: tuple[tuple[str, float], ...], since: datetime | None, **more: Any
) -> Comparison:
    comparison = read(id, app=app, effects=dict(effects), since=since, **more)
    if not comparison.variants and since is None:
        text = comparison.sentences[0].rstrip(".")
        raise Problem(f"{text}: `compare` without an id lists those there are")
    return comparison


def _list(screen: Screen, ids: list[str]) -> None:
    if screen.as_json:
        screen.json({"rows": [{"experiment": id} for id in ids], "next": None})
        return
    for id in ids or ["no experiments"]:
        screen.line(id)


def _print(screen: Screen, comparison: Comparison) -> None:
    for n, (title, table) in enumerate(numbers.comparison(comparison)):
        screen.title(title) if n else screen.line(title)
        screen.show(table)
    screen.line()
    for sentence in comparison.sentences:
        screen.line(sentence)
