"""``defer send-event``: an event, from the shell."""

from __future__ import annotations

import json
from typing import Any

import click

from celery_defer import events
from celery_defer.views import words
from celery_defer.views.cli import options
from celery_defer.views.cli.command import command, extension_in
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.screen import Screen


@command(defer, "send-event", short="Send an event to the runs that wait for it.")
@click.argument("name", type=options.name)
@click.argument("data", required=False)
@click.option("--id", help="An id of the event: it counts once within a day.")
def send_event(ctx: Any, as_json: bool, name: str, data: str | None, id: str | None) -> None:
    """Send the event NAME with DATA, as JSON, to the runs that wait for it."""
    woken = events.send_event(name, _json(data), id=id, app=extension_in(ctx).app)
    more = {
        "cancelled": woken.cancelled,
        "is_repeat": woken.is_repeat,
        "has_more": woken.has_more,
    }
    screen = Screen.of(ctx, as_json=as_json)
    if as_json:
        screen.json({"woken": int(woken), **more})
        return
    rest = "; relays wake the others" if woken.has_more else ""
    repeat = "; it was sent before" if woken.is_repeat else ""
    ended = f", {words.plural(woken.cancelled, 'run')} cancelled" if woken.cancelled else ""
    screen.line(f"{words.plural(woken, 'run')} woken{ended}{rest}{repeat}")


def _json(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise click.BadParameter(
            f"""{error}. Give JSON, such as '{{"order_id": 7}}'.""", param_hint="DATA"
        ) from None
