"""When a message may be written on the pattern of another, and when not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from celery_defer.broker.message import Draft, Message, Wire
from celery_defer.ids import RunId
from celery_defer.model import HEADER, Call, Options

OPTIONS: dict[str, Any] = {"headers": {HEADER: {"id": "a"}}, "root_id": "r", "parent_id": "p"}


def message(id: str = "one", payload: bytes = b'[[1],{"b":2}]') -> Message:
    call = Call("a", "ship", payload, 0.0, Options())
    task: Any = SimpleNamespace(name="ship")
    return Message(call, RunId(id), task, (1,), {"b": 2}, OPTIONS)


def wire(**headers: Any) -> Wire:
    """What Celery sends for ``message()``."""
    of_the_call = {"id": "one", "root_id": "r", "parent_id": "p", HEADER: {"id": "a"}}
    shown = {"argsrepr": "(1,)", "kwargsrepr": "{'b': 2}"}
    embed = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'
    return Wire(
        f'[[1], {{"b": 2}}, {embed}]'.encode(),
        {"lang": "py", "task": "ship", **of_the_call, **shown, **headers},
        {"correlation_id": "one", "reply_to": "me", "priority": 0},
        "queue",
    )


def test_a_pattern_is_what_two_messages_have_in_common() -> None:
    draft = Draft.of(wire(), message(), "me")
    assert draft is not None

    other = draft.filled(message("two"), "you")

    assert other.headers == {**wire().headers, "id": "two"}
    assert other.properties == {"correlation_id": "two", "reply_to": "you", "priority": 0}


@pytest.mark.parametrize(
    "celerys",
    [
        pytest.param(None, id="not one message"),
        pytest.param(wire(trace="x"), id="a header of someone else's"),
        pytest.param(wire(argsrepr="hidden"), id="arguments that are not shown"),
        pytest.param(replace(wire(), body=b"\x80\x04"), id="another serializer"),
        pytest.param(replace(wire(), body=b"[[1],{},null]"), id="another body"),
        pytest.param(replace(wire(), properties={}), id="other properties"),
    ],
)
def test_no_pattern_is_made_of_what_we_would_write_otherwise(celerys: Wire | None) -> None:
    assert Draft.of(celerys, message(), "me") is None


@pytest.mark.parametrize(
    "options",
    [
        {**OPTIONS, "headers": {**OPTIONS["headers"], "tenant": "x"}},
        {**OPTIONS, "countdown": 1.0},
        {**OPTIONS, "stamped_headers": ["x"], "x": 1},
    ],
)
def test_a_message_with_more_than_a_place_to_go_to_is_not_plain(options: dict[str, Any]) -> None:
    assert message().is_plain
    assert not replace(message(), options=options).is_plain
