"""Which messages have a template, and which are Celery's to make."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Producer, Queue

from celery_defer.broker.batch import Batch
from celery_defer.broker.message import Message, Wire
from celery_defer.broker.template import TemplateSet, write
from celery_defer.ids import RunId
from celery_defer.model import HEADER
from celery_defer.run import WAKE

OPTIONS: dict[str, Any] = {"reply_to": "me"}
QUEUE = Queue("q", Exchange("x", type="direct"), routing_key="q")


class OneMessage(Batch):
    """A batch to which Celery has published one message."""

    def __init__(self, wire: Wire | None) -> None:
        super().__init__(Producer(None))
        self._wire = wire

    def last(self) -> Wire | None:
        return self._wire


def a_message(id: str = "one", **changes: Any) -> Message:
    message = Message(RunId(id), "ship", [1], {"b": 2}, "r", "p", {HEADER: {"id": "a"}}, OPTIONS)
    return replace(message, **changes)


def a_wire(**headers: Any) -> Wire:
    """What Celery sends for ``a_message()``."""
    of_the_call = {"id": "one", "root_id": "r", "parent_id": "p", HEADER: {"id": "a"}}
    shown = {"argsrepr": "(1,)", "kwargsrepr": "{'b': 2}"}
    embed = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'
    return Wire(
        f'[[1], {{"b": 2}}, {embed}]'.encode(),
        {"lang": "py", "task": "ship", **of_the_call, **shown, **headers},
        {"correlation_id": "one", "reply_to": "me", "priority": 0},
        "queue",
    )


def learned(app: Celery, wire: Wire | None, queue: Any = QUEUE) -> Wire | None:
    """Return the template that is kept of a message that Celery has made so."""
    message = a_message()
    templates = TemplateSet(app, OneMessage(wire))
    templates.learn(templates.kind_of(message), message, a_wire().headers.keys(), queue)
    return templates.find(templates.kind_of(message))


def test_what_celery_has_made_is_the_template_of_the_next(app: Celery) -> None:
    wire = learned(app, a_wire())
    assert wire is not None

    other = write(a_message("two"), wire)

    assert other.headers == {**a_wire().headers, "id": "two"}
    assert other.properties == {"correlation_id": "two", "reply_to": "me", "priority": 0}
    assert json.loads(other.body) == json.loads(a_wire().body)
    assert other.route == "queue"


def test_messages_with_other_addresses_for_replies_share_a_template(app: Celery) -> None:
    message = a_message(options={"reply_to": "you"})
    templates = TemplateSet(app, OneMessage(a_wire()))
    templates.learn(templates.kind_of(a_message()), a_message(), a_wire().headers.keys(), QUEUE)

    wire = templates.find(templates.kind_of(message))

    assert wire is not None
    assert write(message, wire).properties["reply_to"] == "you"


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(None, id="not one message"),
        pytest.param(a_wire(trace="x"), id="a header of someone else's"),
        pytest.param(a_wire(argsrepr="hidden"), id="arguments that are not shown"),
        pytest.param(replace(a_wire(), body=b"\x80\x04"), id="another serializer"),
        pytest.param(replace(a_wire(), body=b"[[1],{},null]"), id="another body"),
        pytest.param(replace(a_wire(), properties={}), id="other properties"),
        pytest.param(
            replace(a_wire(), properties={**a_wire().properties, "timestamp": 7}),
            id="a property that we do not know",
        ),
    ],
)
def test_no_template_is_made_of_what_we_would_write_otherwise(
    app: Celery, wire: Wire | None
) -> None:
    assert learned(app, wire) is None


@pytest.mark.parametrize(("kind", "is_kept"), [("direct", True), ("topic", False)])
def test_only_a_direct_exchange_leads_into_one_queue_for_ever(
    app: Celery, kind: str, is_kept: bool
) -> None:
    queue = Queue("q", Exchange("x", type=kind), routing_key="q")

    assert (learned(app, a_wire(), queue) is not None) == is_kept


def test_an_app_that_hides_arguments_has_no_templates(app: Celery) -> None:
    assert learned(app, a_wire()) is not None
    app.amqp.argsrepr_maxsize = 0

    assert learned(app, a_wire()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {**OPTIONS, "countdown": 1.0}},
        {"options": {**OPTIONS, "stamped_headers": ["x"], "x": 1}},
        {"options": {**OPTIONS, "link": [{"task": "bill"}]}},
        {"options": {**OPTIONS, "queue": QUEUE, "priority": []}},
    ],
)
def test_a_message_with_more_than_a_place_to_go_to_is_of_no_kind(
    app: Celery, changes: dict[str, Any]
) -> None:
    templates = TemplateSet(app, OneMessage(None))
    assert templates.kind_of(a_message()) is not None

    assert templates.kind_of(a_message(**changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "bill"},
        {"headers": {HEADER: {"id": "a"}, "tenant": "x"}},
        {"headers": {WAKE: {"turn": 1, "token": "t"}}},
        {"options": {**OPTIONS, "priority": 3}},
        {"options": {**OPTIONS, "queue": "slow"}},
        {"options": {**OPTIONS, "time_limit": 3}},
        {"options": {}},
    ],
)
def test_what_travels_otherwise_is_of_another_kind(app: Celery, changes: dict[str, Any]) -> None:
    templates = TemplateSet(app, OneMessage(None))

    assert templates.kind_of(a_message(**changes)) != templates.kind_of(a_message())
