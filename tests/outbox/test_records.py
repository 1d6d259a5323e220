"""A record comes back from the store as it went in, and nothing else is taken for one."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic_core import to_json

from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.model import Call, Options, Outcome
from celery_defer.outbox import DeferredCalls, records

text = st.text(st.characters(codec="utf-8"))
names = st.text(st.characters(codec="utf-8"), min_size=1)
seconds = st.floats(0, 1e15)
moments = st.datetimes(timezones=st.just(timezone.utc))
durations = st.timedeltas(timedelta(0), timedelta(days=3650))
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
values = st.recursive(plain, lambda v: st.lists(v) | st.dictionaries(text, v), max_leaves=5)


@st.composite
def options(draw: st.DrawFn) -> Options:
    start = draw(st.sampled_from(["countdown", "eta", None]))
    given: dict[str, Any] = {
        "expires": draw(st.none() | seconds | durations | moments),
        "queue": draw(st.none() | names),
        "priority": draw(st.none() | st.integers(0, 255)),
        "headers": draw(st.none() | st.dictionaries(text.map("x-{}".format), values)),
        "when": draw(st.sampled_from(["success", "failure", "always", "now"])),
        "experiment": draw(st.none() | names),
    }
    if start:
        given[start] = draw(seconds if start == "countdown" else moments)
    return Options(**{name: value for name, value in given.items() if value is not None})


def payloads() -> st.SearchStrategy[bytes]:
    return st.tuples(st.lists(values), st.dictionaries(text, values)).map(to_json)


calls = st.builds(
    Call, id=names, task=names, payload=payloads(), at=seconds, options=st.just(Options())
) | st.builds(Call, id=names, task=names, payload=payloads(), at=seconds, options=options())

records = st.builds(
    DeferredCalls,
    parent=text.map(RunId),
    root=text.map(RunId),
    task=text,
    depth=st.integers(0, 32),
    verdict=st.none() | st.sampled_from(Outcome),
    at=seconds,
    inherited=st.dictionaries(text, values),
    calls=st.lists(calls, max_size=3).map(tuple),
    unknown_since=st.none() | seconds,
)

A_RECORD = DeferredCalls(
    parent=RunId("parent"),
    root=RunId("root"),
    task="process",
    depth=1,
    verdict=Outcome.SUCCESS,
    at=5.0,
    inherited={"priority": 3},
    calls=(Call("ship", "ship", b'[[],{"n":1}]', 4.0, Options()),),
)


# On a busy machine the first draws are slow.
@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])
@given(records)
def test_a_record_comes_back_as_it_went_in(kept: DeferredCalls) -> None:
    assert records.unpack(records.pack(kept)) == kept


def test_options_come_back_with_their_types() -> None:
    options = Options(
        eta=datetime(2030, 1, 1, 12, 30, tzinfo=timezone.utc),
        expires=timedelta(days=2, seconds=1),
        headers={"tenant": ["acme", {"ü": None}]},
    )
    (call,) = A_RECORD.calls
    kept = replace(A_RECORD, calls=(replace(call, options=options),))
    (again,) = records.unpack(records.pack(kept)).calls

    assert again.options == options
    assert again.options.expires == 2 * 86_400 + 1


def test_an_eta_keeps_its_moment_in_any_zone() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    eta = datetime(2030, 1, 1, 12, 30, tzinfo=zone)
    (call,) = A_RECORD.calls
    kept = replace(A_RECORD, calls=(replace(call, options=Options(eta=eta)),))
    (again,) = records.unpack(records.pack(kept)).calls

    assert again.options.eta == eta


def without(name: str) -> bytes:
    fields = json.loads(records.pack(A_RECORD))
    del fields[name]
    return json.dumps(fields).encode()


def but(**changes: Any) -> bytes:
    return json.dumps({**json.loads(records.pack(A_RECORD)), **changes}).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00\xff\xfe", id="bytes"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"{}", id="object"),
        pytest.param(pickle.dumps(A_RECORD), id="pickle"),
        pytest.param(records.pack(A_RECORD)[:-1], id="cut"),
        pytest.param(without("calls"), id="no-calls"),
        pytest.param(without("verdict"), id="no-verdict"),
        pytest.param(but(verdict="RETRY"), id="verdict"),
        pytest.param(but(calls=[{"id": "x"}]), id="call"),
        pytest.param(but(calls=[[]]), id="call-list"),
        pytest.param(but(at="soon"), id="time"),
        pytest.param(but(inherited=[1]), id="inherited"),
    ],
)
def test_what_is_no_record_is_refused(body: bytes) -> None:
    with pytest.raises(RecordError, match="the record cannot be read"):
        records.unpack(body)


@given(st.binary())
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    with pytest.raises(RecordError):
        records.unpack(body)


def test_what_is_wrong_with_a_record_is_told_by_its_place() -> None:
    call = {**json.loads(records.pack(A_RECORD))["calls"][0], "options": {"priority": 300}}

    with pytest.raises(RecordError, match=r"calls\.0\.options\.priority: Input should be less"):
        records.unpack(but(calls=[call]))
