"""The app of the workers that get killed.

DEFER_COMMIT says how it commits, KILLS_SETTINGS has Celery's settings as JSON, and KILLS_RIDES is 1
where these let messages go with the result. Which run dies where is said in Redis: see points.py.
"""

from __future__ import annotations

import json
import os
import time

from celery import Celery, current_task

from celery_defer import Defer, defer, deferred, send_event, step
from celery_defer.model import When
from tests.support import commit
from tests.worker.kills import points

app = Celery("kills", set_as_current=True)
app.conf.update({**commit.settings(), **json.loads(os.environ["KILLS_SETTINGS"])})
with points.installed(app):
    Defer(app)


@deferred
@app.task(name="kills.child")
def child(n: int) -> None:
    run = current_task.request.id
    points.reach("deferred-body", run)
    points.count("completed", run)
    points.reach("deferred-after", run)


@app.task(name="kills.parent")
def parent(whens: list[When]) -> str:
    for n, (id, when) in enumerate(zip("abc", whens, strict=True)):
        defer(id, child.with_options(when=when), n=n)
    points.reach("body", current_task.request.id)
    return "done"


@app.task(name="kills.stepping")
def stepping(event: str | None) -> None:
    """Do a step, wait for a moment or for an event, do another step."""
    run = current_task.request.id
    step.run("first", work, run, "first")
    if event is None:
        step.sleep("nap", 0.3)
    else:
        step.wait_for_event("news", event, timeout=60)
    step.run("second", work, run, "second")
    points.reach("resumed-body", run)
    points.count("completed", run)
    points.reach("resumed-after", run)


def work(run: str, name: str) -> None:
    points.reach("step-body", run)
    points.count(name, run)


@app.task(name="kills.sender")
def sender(event: str) -> int:
    return send_event(event, id="only")


@app.task(name="kills.blocker", ignore_result=True)
def blocker(parent: str) -> None:
    """Keep the pool busy while the relay works: what it publishes must not begin before it dies."""
    app.backend.client.rpush(f"accepted:{parent}", 1)
    while not app.backend.client.exists(f"go:{parent}"):
        time.sleep(0.01)


@app.task(name="kills.fence", ignore_result=True)
def fence(name: str) -> None:
    """Tell that all is done that a worker with one process or thread was given before."""
    app.backend.client.rpush(f"fence:{name}", 1)
