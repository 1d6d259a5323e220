"""Two projects of the shape of real ones do the same with ``defer`` as with ``apply_async``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from celery import Celery
from redis import Redis

from tests.support.processes import ROOT, CeleryWorker, wait_until

APP = "tests.worker.shapes"

CONFERENCE = [
    "checked()",
    "mail(body='Version 9.1 is out.', event=None, "
    "headers={'scenario': SCENARIO, 'X-Version': 'new'}, html=None, retries=0, "
    "subject='An update is available', to=['staff@conference.example'])",
    "mail(body='See above.', event=7, headers={'scenario': SCENARIO}, html=None, retries=1, "
    "subject='Copy', to=['archive@conference.example'])",
]
TICKETS = [
    *(
        f"mail(args=(), body='order.placed: {entry}', event=None, sender='shop@tickets.example', "
        f"subject='Order placed', to=['{person}@tickets.example'], user={person})"
        for entry in (40, 41)
        for person in (1, 2)
    ),
    "close(at=datetime.datetime(2030, 1, 1, 0, 0, tzinfo=datetime.timezone.utc), event=Event(7))",
    "book(event=Event(8), lines=[{'price': Decimal('19.90'), "
    "'seat': UUID('00000000-0000-0000-0000-000000000005'), "
    "'at': datetime.datetime(2030, 5, 1, 0, 0)}], more={})",
]

Noted = Callable[[str, int], list[str]]


# A page of the settings, or a command: no task is in progress.
VIEW = """
import sys
from celery_defer import deferring
from tests.worker.shapes.conference import tell_staff
from tests.worker.shapes.project import app, way

way.set(("defer", sys.argv[1]))
with deferring(app):
    tell_staff("9.1")
"""


@pytest.fixture(scope="module")
def environment(redis_url: str) -> dict[str, str]:
    return {"SHAPES_REDIS": redis_url, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module", params=["conference", "tickets"])
def project(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[str]:
    """The name of a project, whose worker runs."""
    env = {**environment, "SHAPES_QUEUE": request.param}
    with CeleryWorker(f"{APP}.{request.param}", f"{request.param}@shapes", "-c", "2", env=env):
        yield request.param


@pytest.fixture
def noted(redis_url: str) -> Iterator[Noted]:
    """What a project has noted, once there is so much, in order of the text."""
    with Redis.from_url(redis_url, decode_responses=True) as seen:

        def noted(scenario: str, count: int) -> list[str]:
            key = f"seen:{scenario}"
            wait_until(lambda: seen.llen(key) >= count, f"{count} notes")
            return sorted(
                row.replace(repr(scenario), "SCENARIO") for row in seen.lrange(key, 0, -1)
            )

        yield noted


@pytest.fixture
def send(project: str, redis_url: str) -> Iterator[Callable[..., str]]:
    """Send a task in one way, and return the name of the scenario."""
    with Celery(broker=redis_url, backend=redis_url, set_as_current=False) as app:
        app.conf.task_default_queue = project

        def send(task: str, way: str, *args: object) -> str:
            scenario = uuid4().hex
            app.send_task(task, (way, scenario, *args))
            return scenario

        yield send


@pytest.mark.parametrize("way", ["apply_async", "defer"])
def test_follow_up_work_gets_the_same_from_both(
    project: str, send: Callable[..., str], noted: Noted, way: str
) -> None:
    if project == "conference":
        scenario = send("conference.check_for_update", way)
        assert noted(scenario, len(CONFERENCE)) == sorted(CONFERENCE)
    else:
        scenario = send("tickets.notify", way, [40, 41])
        assert noted(scenario, len(TICKETS)) == sorted(TICKETS)


@pytest.mark.parametrize("project", ["conference"], indirect=True)
def test_a_helper_that_a_task_calls_can_be_called_by_a_view_too(
    project: str, environment: dict[str, str], noted: Noted
) -> None:
    scenario = uuid4().hex
    env = {**os.environ, **environment, "SHAPES_QUEUE": project}

    subprocess.run([sys.executable, "-c", VIEW, scenario], env=env, cwd=ROOT, check=True)

    assert noted(scenario, 2) == sorted(CONFERENCE[1:])
