"""What is written on the template of Celery's first message is what Celery would have written."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery
from celery.app import trace
from celery.app.amqp import AMQP
from celery.signals import before_task_publish
from celery.utils.saferepr import saferepr
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from kombu.utils.encoding import str_to_bytes
from pydantic_core import to_json
from redis import Redis

from celery_defer import Defer, broker, defer, deferred
from celery_defer.broker import Delivery, Message, template
from celery_defer.encoding import dumps
from celery_defer.ids import RunId
from celery_defer.model import HEADER, Call, Options, Outcome
from celery_defer.outbox import DeferredCalls, ParkedRun, pack, unpack
from celery_defer.outbox.messages import messages_of, wake_up
from tests.support.connections import close_pools
from tests.support.inside import Worker, ids_of
from tests.support.rabbitmq import RABBITMQ, need_rabbitmq, virtual_host
from tests.support.redis import Server

# redis-py says so of what Celery's result backend calls.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

DEEP: Any = [[[[{"a": [{"b": [[1]]}]}]]]]
#: What arguments may look like.
VALUES: list[Any] = [
    7,
    0.5,
    -1e300,
    2**70,
    None,
    True,
    "",
    "it's",
    'a "quote"',
    "both ' and \"",
    "back\\slash",
    "a line\nand\ta tab\x00\x7f\x1b",
    "\N{BALLOON} ünï \N{ZERO WIDTH SPACE}\N{LINE SEPARATOR}",
    "[({<,>})]",
    ["a", {"b": [1]}],
    {"__type__": "x"},
    {"a": {"b": {"c": {"d": 1}}}},
    DEEP,
    [],
    {},
    list(range(5)) * 80,
    ["x" * 300] * 5,
    "x" * 2000,
    "'" * 900,
    "\N{BALLOON}" * 600,
]
#: What Celery's JSON carries beside what JSON has.
TYPED: list[Any] = [
    b"bytes",
    b"\xff\x00'\"",
    datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc),
    datetime(2030, 1, 2),
    UUID("312c281e-37f4-4ec0-8419-f3d682ab0815"),
    Decimal("1.50"),
    [Decimal(1), {"at": datetime(2030, 1, 1, tzinfo=timezone.utc)}],
]


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """The name of a virtual host of our own, or else of the default one."""
    need_rabbitmq()
    with virtual_host() as name:
        yield name


@pytest.fixture(params=["redis", "rabbitmq"])
def app(server: Server, request: pytest.FixtureRequest) -> Iterator[Celery]:
    url = f"{server.url}/3"
    if request.param == "rabbitmq":
        url = f"{RABBITMQ}/{request.getfixturevalue('host')}"
    name = f"templates-{uuid4().hex}"
    app = Celery(name, broker=url, backend=f"{server.url}/4", set_as_current=False)
    app.conf.task_default_queue = name
    Defer(app)
    yield app
    if request.param == "rabbitmq":
        with Connection(url) as connection, connection.channel() as channel:
            for queue in app.amqp.queues.values():
                channel.queue_delete(queue.name)
                channel.exchange_delete(queue.name)
    else:
        server.client(db=3).flushdb()
    close_pools(app)


# -- the fast way and Celery's own ------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Messages of one kind, or of several; *made* of them are Celery's own in the fast way."""

    make: Callable[[Celery], list[Message]]
    made: int = 1
    conf: dict[str, Any] = field(default_factory=dict)


def calls(
    values: Sequence[Any] = (1, "b", None),
    *,
    task: dict[str, Any] | None = None,
    inherited: dict[str, Any] | None = None,
    each: Callable[[int], dict[str, Any]] = lambda _: {},
    made: int = 1,
    **conf: Any,
) -> Case:
    """Return what one run has deferred, a call for each value; *each* has a call's options."""

    def make(app: Celery) -> list[Message]:
        ship_of(app, **(task or {}))
        record = DeferredCalls(
            parent=RunId("parent"),
            root=RunId("root"),
            task="sell",
            depth=0,
            verdict=Outcome.SUCCESS,
            at=5.0,
            inherited=inherited or {},
            calls=tuple(
                Call(f"call-{n}", "ship", to_json([[v], {"again": v}]), 4.5, Options(**each(n)))
                for n, v in enumerate(values)
            ),
        )
        back = unpack(record.parent, pack(record))
        assert isinstance(back, DeferredCalls)
        return messages_of(app, back, Outcome.SUCCESS, "token")

    return Case(make, made, conf)


def wakes(
    values: Sequence[Any] = (1, "b", None),
    *,
    headers: Callable[[int], dict[str, Any]] = lambda _: {},
    made: int = 1,
    queue: str | None = None,
    each: Callable[[int], dict[str, Any]] = lambda _: {},
    **options: Any,
) -> Case:
    """Return the wake-ups of parked runs, one for each value."""

    def make(app: Celery) -> list[Message]:
        usual = {"queue": queue or app.conf.task_default_queue, "reply_to": "me", "priority": 0}
        runs = [
            ParkedRun(
                RunId(f"run-{n}"),
                "ship",
                n + 1,
                (value,),
                {"again": value},
                {**usual, **options, **each(n)},
                headers=headers(n),
            )
            for n, value in enumerate(values)
        ]
        return [wake_up(came_back(run), "token.1") for run in runs]

    return Case(make, made)


def came_back(run: ParkedRun) -> ParkedRun:
    back = unpack(run.id, pack(run))
    assert isinstance(back, ParkedRun)
    return back


LINK = {"task": "bill", "args": [], "kwargs": {}, "options": {"queue": "q"}, "subtask_type": None}
OURS = {"id": "ship", "parent": "sell", "at": 1.5, "depth": 1}
STAMPS = {"stamped_headers": ["tenant"], "tenant": "acme"}

CASES = {
    "calls: values": calls(VALUES),
    "calls: queue": calls(each=lambda _: {"queue": "other"}),
    "calls: queues": calls(range(6), each=lambda n: {"queue": f"other-{n % 2}"}, made=2),
    "calls: priorities": calls(range(6), each=lambda n: {"priority": n % 3 * 3}, made=3),
    "calls: headers": calls(each=lambda n: {"headers": {"tenant": n, "trace": None}}),
    "calls: nested headers": calls(each=lambda n: {"headers": {"trace": {"a": [n]}}}),
    "calls: headers that differ": calls(each=lambda n: {"headers": {f"x-{n}": n}}, made=3),
    "calls: experiment": calls(each=lambda n: {"experiment": f"e{n}"}),
    "calls: inherited priority": calls(inherited={"priority": 4}),
    "calls: stamps": calls(inherited=STAMPS, made=3),
    "calls: a task's priority": calls(task={"priority": 3}),
    "calls: a task's time limits": calls(task={"time_limit": 9, "soft_time_limit": 8.5}),
    "calls: a task without result": calls(task={"ignore_result": True}),
    "calls: a task's delivery mode": calls(task={"delivery_mode": 1}),
    "calls: compression": calls(["x" * 500, "y"], task={"compression": "gzip"}, made=2),
    "calls: an app's compression": calls(["x" * 500, "y"], made=2, task_compression="zlib"),
    "calls: pickle": calls(VALUES, task={"serializer": "pickle"}, made=len(VALUES)),
    "calls: routes": calls(task_routes={"ship": {"queue": "routed", "priority": 2}}),
    "calls: deeper arguments shown": calls([DEEP, DEEP], made=2, task_repr_maxlevels=5),
    "wake-ups: values": wakes([*VALUES, *TYPED]),
    "wake-ups: first a typed value": wakes([*TYPED, *VALUES]),
    "wake-ups: queue": wakes(queue="other"),
    "wake-ups: priorities": wakes(range(6), each=lambda n: {"priority": n % 3 * 3}, made=3),
    "wake-ups: a deferred run": wakes(headers=lambda n: {HEADER: {**OURS, "id": f"call-{n}"}}),
    "wake-ups: headers": wakes(headers=lambda n: {"trace": f"t{n}", "n": n}),
    "wake-ups: typed headers": wakes(
        headers=lambda n: {"x": [None, TYPED[1], TYPED[2]][n]}, made=3
    ),
    "wake-ups: kin": wakes(each=lambda n: {"root_id": f"root-{n}", "parent_id": f"parent-{n}"}),
    "wake-ups: time limits": wakes(time_limit=9, soft_time_limit=8.5),
    "wake-ups: no result": wakes(ignore_result=True),
    "wake-ups: retries": wakes(range(4), each=lambda n: {"retries": n % 2}, made=2),
    "wake-ups: shadow": wakes(shadow="ship it"),
    "wake-ups: stamps": wakes(**STAMPS, made=3),
    "wake-ups: link": wakes(link=[LINK], link_error=[LINK], made=3),
    "wake-ups: chain": wakes(chain=[LINK], made=3),
    "wake-ups: chord": wakes(chord=LINK, group_id="group", group_index=1, made=3),
    "wake-ups: compression": wakes(["x" * 500, "y"], compression="zlib", made=2),
    "wake-ups: pickle": wakes([*VALUES, *TYPED], serializer="pickle", made=32),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_fast_way_and_celerys_own_put_the_same_on_the_broker(app: Celery, case: Case) -> None:
    app.conf.update(case.conf)
    made = count_what_celery_makes(app)
    messages = case.make(app)

    by_celery = put_on_the_broker(app, messages, is_fast=False)
    made.clear()
    ours = put_on_the_broker(app, messages, is_fast=True)

    assert len(ours) == len(messages)
    assert ours == by_celery
    assert len(made) == case.made


HALF_A_CHARACTER = "\ud83d"


def test_a_wake_up_whose_arguments_have_half_a_character_is_published(app: Celery) -> None:
    messages = wakes(["whole", HALF_A_CHARACTER]).make(app)

    by_celery = put_on_the_broker(app, messages, is_fast=False)

    assert put_on_the_broker(app, messages, is_fast=True) == by_celery


def ship_of(app: Celery, **attributes: Any) -> None:
    @deferred(app, name="ship", shared=False)
    def ship(value: Any, *, again: Any) -> None: ...

    # Celery warns of some where a task is declared with them.
    vars(app.tasks["ship"]).update(attributes)


def count_what_celery_makes(app: Celery) -> list[str]:
    made: list[str] = []

    class Counting(AMQP):
        def as_task_v2(self, id: str, name: str, *args: Any, **options: Any) -> Any:
            made.append(id)
            return super().as_task_v2(id, name, *args, **options)

    app.amqp = Counting(app)
    return made


def put_on_the_broker(app: Celery, messages: list[Message], *, is_fast: bool) -> list[str]:
    """Send *messages*, and return what is on the broker then, by queue; take it off."""
    extension = app._celery_defer
    extension.settings = extension.settings.model_copy(update={"fast_messages": is_fast})
    delivery = broker.send(app, messages, is_durable=True)
    assert delivery == Delivery(sent=frozenset(message.id for message in messages))
    take = taken_from_redis if app.conf.broker_url.startswith("redis") else taken_from_rabbitmq
    return sorted(take(app))


def taken_from_redis(app: Celery) -> Iterator[str]:
    with Redis.from_url(app.conf.broker_url) as redis:
        for key in redis.scan_iter(_type="LIST"):
            for text in redis.lrange(key, 0, -1):
                message = json.loads(text)
                tag, encoding = (
                    message["properties"].pop(name) for name in ("delivery_tag", "body_encoding")
                )
                assert UUID(tag)
                assert encoding == "base64"
                yield exact(key.decode(), body_of(b64decode(message.pop("body"))), message)
            redis.delete(key)


def taken_from_rabbitmq(app: Celery) -> Iterator[str]:
    with Connection(app.conf.broker_url) as connection, connection.channel() as channel:
        for queue in app.amqp.queues.values():
            queue(channel).declare()
            while message := channel.basic_get(queue.name, no_ack=True):
                route = [message.delivery_info[name] for name in ("exchange", "routing_key")]
                body = str_to_bytes(message.body)
                yield exact(queue.name, body_of(body), [route, message.properties])


def body_of(body: bytes) -> Any:
    """Return a body as JSON, which may have its spaces otherwise; else as it is."""
    try:
        return json.loads(body)
    except ValueError:
        return repr(body)


def exact(*parts: Any) -> str:
    """Write parts so that 1, 1.0 and True are three things."""
    return json.dumps(parts, sort_keys=True, default=repr)


# -- what a parent defers -----------------------------------------------------------------------


def parent_of(app: Celery, count: int) -> Any:
    @deferred(app, name="ship", shared=False)
    def ship(n: int) -> None: ...

    @app.task(name="parent", shared=False)
    def parent() -> None:
        for n in range(count):
            defer(f"call-{n}", ship, n)

    return parent


def perform(task: Any) -> None:
    """Run *task* under a new id, and let it publish what it defers."""
    id = str(uuid4())
    request = {"id": id, "task": task.name, "delivery_info": {}, "is_eager": False}
    trace.build_tracer(task.name, task, app=task.app)(id, (), {}, request)


def sent(app: Celery, queue: str | None = None) -> list[Any]:
    return sorted(Worker(app)._received(queue), key=lambda message: ids_of([message])[0])


def test_celery_makes_only_the_first_message_of_a_kind(app: Celery) -> None:
    made = count_what_celery_makes(app)

    perform(parent_of(app, 3))

    assert len(sent(app)) == 3
    assert len(made) == 1


def test_a_header_of_someone_elses_is_on_every_message(app: Celery) -> None:
    def add(headers: dict[str, Any], **_: Any) -> None:
        headers["trace"] = headers["id"]

    parent = parent_of(app, 3)
    perform(parent)  # nobody adds anything, and so there is a template
    sent(app)
    before_task_publish.connect(add)
    try:
        perform(parent)
    finally:
        before_task_publish.disconnect(add)

    messages = sent(app)
    assert [message.headers["trace"] for message in messages] == [
        message.headers["id"] for message in messages
    ]


def test_a_template_ends_when_the_routes_are_set_anew(app: Celery) -> None:
    parent, other = parent_of(app, 2), f"{app.conf.task_default_queue}-other"
    perform(parent)
    assert len(sent(app)) == 2

    app.conf.update(task_routes={"ship": {"queue": other}})
    perform(parent)

    assert ids_of(sent(app, other)) == ["call-0", "call-1"]


# -- arguments as Flower shows them -----------------------------------------------------------

characters = st.characters(codec="utf-8") | st.sampled_from("'\"\\\n[({,:\x00\ud83d")
texts = st.text(characters) | st.text("x'", min_size=300, max_size=1100)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary()
    | st.datetimes()
    | st.datetimes(timezones=st.just(timezone.utc))
    | st.uuids()
    | st.decimals()
)
values = st.recursive(
    leaves, lambda v: st.lists(v) | st.dictionaries(texts, v), max_leaves=20
) | st.integers(0, 600).map(lambda count: [1] * count)


@given(st.lists(values, max_size=4), st.dictionaries(texts, values, max_size=4))
def test_arguments_are_shown_as_celery_shows_them(args: list[Any], kwargs: dict[str, Any]) -> None:
    # A wake-up's arguments are written by Celery's JSON, a call's in the fewest bytes.
    compact = json.dumps((args, kwargs), separators=(",", ":"), ensure_ascii=False, default=str)
    for payload in (dumps((args, kwargs)).encode(), compact.encode(errors="surrogatepass")):
        assert template._shown(tuple(args), len(payload)) == saferepr(tuple(args), 1024)
        assert template._shown(kwargs, len(payload)) == saferepr(kwargs, 1024)
