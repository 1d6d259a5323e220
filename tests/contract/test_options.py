"""Rule 3.9: ``with_options``, the options of ``apply_async`` that a deferred run takes."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from celery import Celery
from django.utils.functional import lazystr
from kombu import Exchange, Queue

from celery_defer import OptionError, StepError, defer, deferred, step
from celery_defer.model import HEADER
from celery_defer.signals import call_skipped
from celery_defer.testing import Simulation
from tests.support.inside import Worker, parent_of

FAR = datetime(2040, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def ship(app: Celery) -> Any:
    @deferred(app, name="ship")
    def ship(n: int = 0) -> int:
        return n

    return ship


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"": "7"}, "tag '': it is empty; a key is text of 1 to 128 bytes, without ="),
        ({7: "7"}, "tag 7: it is no text; a key is text of 1 to 128 bytes, without ="),
        ({"order": 7}, "tag 'order': its value 7 is refused; give text, or None, which removes"),
    ],
)
def test_a_bad_tag_is_named_and_so_is_the_task_of_its_call(
    app: Celery, worker: Worker, ship: Any, tags: Any, reason: str
) -> None:
    skipped: list[Any] = []
    call_skipped.connect(lambda **about: skipped.append(about), weak=False, dispatch_uid="bad-tag")

    worker.run(parent_of(app, lambda: defer("a", ship.with_options(tags=tags)) and None))
    call_skipped.disconnect(dispatch_uid="bad-tag")

    assert [about["task"] for about in skipped] == ["ship"]
    assert skipped[0]["reason"].startswith(f"with_options of ship: {reason}")


# -- what is taken ---------------------------------------------------------------------------


def test_other_options_leave_the_task_as_it_was(app: Celery, worker: Worker, ship: Any) -> None:
    app.conf.task_default_priority = 1

    def body() -> None:
        defer("urgent", ship.with_options(priority=9, headers={"x-tenant": "acme"}))
        defer("plain", ship)

    worker.run(parent_of(app, body))
    first, second = worker.published()

    assert (first.properties["priority"], second.properties["priority"]) == (9, 1)
    assert first.headers["x-tenant"] == "acme"
    assert "x-tenant" not in second.headers


@pytest.mark.parametrize(
    "options",
    [
        {"eta": FAR, "expires": FAR + timedelta(days=1)},
        {"eta": datetime(2020, 1, 1, tzinfo=timezone.utc)},
        {"serializer": "pickle"},
        {"compression": "zlib"},
        {"ignore_result": True},
        {"time_limit": 30, "soft_time_limit": 20.5},
        {"shadow": "ship for acme"},
        {"priority": 3},
        {"headers": {"tenant": "acme"}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_option_travels_as_celerys_own_does(
    app: Celery, worker: Worker, ship: Any, options: Any
) -> None:
    """Twice: the second message may be written on the pattern of the first."""

    def body() -> None:
        for n in (1, 2):
            defer(f"ship-{n}", ship.with_options(**options), n)
        for n in (1, 2):
            ship.apply_async((n,), **options)

    worker.run(parent_of(app, body))
    *theirs, first, second = worker.published()

    assert [described(first), described(second)] == [described(message) for message in theirs]


def described(message: Any) -> Any:
    """Return a message without what belongs to one run alone."""
    own = {HEADER, "id", "replaced_task_nesting"}
    properties = {"priority", "content_type", "content_encoding", "delivery_mode"}
    return (
        {name: value for name, value in message.headers.items() if name not in own},
        {name: message.properties.get(name) for name in properties},
        message.body,
    )


def test_a_queue_or_an_exchange_and_a_key_say_where_a_run_goes(
    app: Celery, worker: Worker, ship: Any
) -> None:
    with app.connection_for_write() as connection:
        Queue("air-mail", Exchange("post"), routing_key="air", channel=connection).declare()

    def body() -> None:
        defer("elsewhere", ship.with_options(queue="elsewhere"), 1)
        defer("by-air", ship.with_options(exchange="post", routing_key="air"), 2)

    worker.run(parent_of(app, body))
    (elsewhere,) = worker._received("elsewhere")
    (by_air,) = worker._received("air-mail")

    assert (elsewhere.payload[0], by_air.payload[0]) == ([1], [2])


def test_options_add_up(ship: Any) -> None:
    options = (
        ship.with_options(queue="mail", countdown=3).with_options(countdown=None, eta=None).options
    )

    assert (options.queue, options.countdown) == ("mail", None)


def test_a_step_does_not_wait_for_a_run_whose_result_is_to_be_ignored(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    @app.task
    def parent() -> None:
        step.invoke("ship", ship.with_options(ignore_result=True))

    run = sim.run(parent)

    assert isinstance(run.exception, StepError)
    assert "keeps no result" in str(run.exception)


# -- what is refused where it is written -------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"countdwn": 3}, "countdwn is not an option; there are: countdown"),
        ({"link_error": 3}, 'with_options.when="failure"'),
        ({"link": 3}, "link is not an option: defer the next task in the body of this one"),
        ({"task_id": "x"}, "task_id is not an option: the id of the run is computed"),
        ({"retry": True}, "published after its parent's end"),
        ({"countdown": math.nan}, "countdown: Input should be a finite number"),
        ({"countdown": 1e12}, "countdown: Input should be less than"),
        ({"countdown": 1, "eta": datetime(2030, 1, 1)}, "countdown and eta both say when"),
        ({"priority": 256}, "priority: Input should be less"),
        ({"queue": ""}, "queue: String should have at least 1"),
        ({"when": "later"}, "when: Input should be"),
        ({"eta": "soon"}, "eta: Input should be"),
        ({"headers": {HEADER: {}}}, "celery_defer is a header of Celery's or our own"),
        ({"headers": {"id": "x"}}, "id is a header of Celery's or our own"),
        ({"headers": {"x": object()}}, "headers.x"),
        ({"serializer": "jsn"}, "serializer: .*No encoder installed for jsn"),
        ({"compression": "zip"}, "compression: .*there is no 'zip'"),
        ({"time_limit": 0}, "time_limit.*greater than 0"),
        ({"time_limit": 1, "soft_time_limit": 2}, "soft_time_limit is more than time_limit"),
        ({"shadow": ""}, "shadow: String should have at least 1"),
    ],
)
def test_an_impossible_option_is_refused(ship: Any, options: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        ship.with_options(**options)


def test_an_option_that_does_not_exist_is_an_error_in_a_run_too(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    @app.task
    def parent() -> None:
        ship.with_options(countdwn=3)

    assert isinstance(sim.run(parent).exception, OptionError)


def test_a_task_without_a_contract_has_no_options(app: Celery) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    with pytest.raises(Exception, match="plain is not a deferred function"):
        plain.with_options(queue="mail")


# -- what a computation has made impossible ----------------------------------------------------


class NoZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        raise LookupError("no such zone")


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"shop": object()}},
        {"headers": {"shop": {"at": FAR}}},
        {"eta": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))},
        {"eta": datetime(2030, 1, 1, tzinfo=NoZone())},
        {"expires": datetime(2030, 1, 1, tzinfo=NoZone())},
        {"countdown": math.nan},
        {"countdown": math.inf},
        {"countdown": 1e300},
        {"expires": 1e300},
        {"expires": timedelta.max},
        {"priority": -1},
        {"queue": ""},
        {"eta": "tomorrow"},
    ],
    # Without addresses: pytest-xdist compares the names of tests.
    ids=lambda options: next(iter(options)),
)
def test_a_value_that_a_computation_made_impossible_skips_its_call_alone(
    app: Celery, sim: Simulation, ship: Any, options: Any
) -> None:
    @app.task
    def parent() -> str:
        defer("bad", ship.with_options(**options), 1)
        defer("good", ship, 2)
        return "done"

    run = sim.run(parent)
    sim.drain()

    assert run.result == "done"
    assert "with_options of ship" in str(run.deferred["bad"].reason)
    assert run.deferred["good"].run.result == 2


def test_it_raises_where_the_app_is_strict(app: Celery, sim: Simulation, ship: Any) -> None:
    app.conf.defer_strict = True

    @app.task
    def parent() -> None:
        defer("bad", ship.with_options(countdown=math.nan))

    assert isinstance(sim.run(parent).exception, OptionError)


@pytest.mark.parametrize(
    "options",
    [{"countdown": -0.5}, {"expires": -1}, {"expires": -timedelta(1)}],
    ids=repr,
)
def test_a_time_that_has_passed_in_the_meantime_is_now(ship: Any, options: Any) -> None:
    options = ship.with_options(**options).options

    assert {options.countdown, options.expires} == {0.0, None}


def test_a_lazy_string_in_a_header_is_the_string(ship: Any) -> None:
    options = ship.with_options(headers={"title": lazystr("Your order")}).options

    assert options.headers == {"title": "Your order"}
    assert type(options.headers["title"]) is str
