"""Two projects of the shape of real ones do the same with ``defer`` as with ``apply_async``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from celery import Celery
from redis import Redis

from tests.support.processes import CeleryWorker, wait_until

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

Run = Callable[..., list[str]]


@pytest.fixture(scope="module", params=["conference", "tickets"])
def project(request: pytest.FixtureRequest, redis_url: str) -> Iterator[str]:
    """The name of a project, whose worker runs."""
    env = {"SHAPES_REDIS": redis_url, "SHAPES_QUEUE": request.param}
    with CeleryWorker(f"{APP}.{request.param}", f"{request.param}@shapes", "-c", "2", env=env):
        yield request.param


@pytest.fixture
def run(project: str, redis_url: str) -> Iterator[Run]:
    with (
        Celery(broker=redis_url, backend=redis_url) as app,
        Redis.from_url(redis_url, decode_responses=True) as seen,
    ):
        app.conf.task_default_queue = project

        def run(task: str, way: str, *args: object, count: int) -> list[str]:
            """Send a task; return what the project has noted, in order of the text."""
            scenario = uuid4().hex
            app.send_task(task, (way, scenario, *args))
            key = f"seen:{scenario}"
            wait_until(lambda: seen.llen(key) >= count, f"{count} notes of {task}, by {way}")
            return sorted(
                row.replace(repr(scenario), "SCENARIO") for row in seen.lrange(key, 0, -1)
            )

        yield run


@pytest.mark.parametrize("way", ["apply_async", "defer"])
def test_follow_up_work_gets_the_same_from_both(project: str, run: Run, way: str) -> None:
    if project == "conference":
        noted = run("conference.check_for_update", way, count=len(CONFERENCE))
        assert noted == sorted(CONFERENCE)
    else:
        noted = run("tickets.notify", way, [40, 41], count=len(TICKETS))
        assert noted == sorted(TICKETS)
