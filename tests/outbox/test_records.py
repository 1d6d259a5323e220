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

from celery_defer.errors import RecordError, UnknownRecordError
from celery_defer.ids import RunId
from celery_defer.model import Call, Options, Outcome
from celery_defer.outbox import DeferredCalls, ParkedRun, pack, unpack
from celery_defer.outbox.gathered import GatheredCall, GatheredCalls, withdrawal
from celery_defer.outbox.records import FanOut, Record
from celery_defer.store import SentEvent

text = st.text(st.characters(codec="utf-8"))
names = st.text(st.characters(codec="utf-8"), min_size=1)
seconds = st.floats(0, 1e15)
delays = st.floats(0, 1e11)
moments = st.datetimes(timezones=st.just(timezone.utc))
durations = st.timedeltas(timedelta(0), timedelta(days=3650))
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
values = st.recursive(plain, lambda v: st.lists(v) | st.dictionaries(text, v), max_leaves=5)


@st.composite
def options(draw: st.DrawFn) -> Options:
    start = draw(st.sampled_from(["countdown", "eta", None]))
    given: dict[str, Any] = {
        "expires": draw(st.none() | delays | durations | moments),
        "queue": draw(st.none() | names),
        "priority": draw(st.none() | st.integers(0, 255)),
        "headers": draw(st.none() | st.dictionaries(text.map("x-{}".format), values)),
        "when": draw(st.sampled_from(["success", "failure", "always", "now"])),
        "experiment": draw(st.none() | names),
    }
    if start:
        given[start] = draw(delays if start == "countdown" else moments)
    return Options(**{name: value for name, value in given.items() if value is not None})


def payloads() -> st.SearchStrategy[bytes]:
    return st.tuples(st.lists(values), st.dictionaries(text, values)).map(to_json)


experiments = st.dictionaries(names, st.tuples(names, names.map(RunId)), max_size=2)
calls = st.builds(
    Call, id=names, task=names, payload=payloads(), at=seconds, options=st.just(Options())
) | st.builds(
    Call,
    id=names,
    task=names,
    payload=payloads(),
    at=seconds,
    options=options(),
    experiments=experiments,
)

deferred_calls = st.builds(
    DeferredCalls,
    parent=text.map(RunId),
    root=text.map(RunId),
    task=text,
    depth=st.integers(0, 32),
    verdict=st.none() | st.sampled_from(Outcome),
    at=seconds,
    inherited=st.dictionaries(text, values),
    calls=st.lists(calls, max_size=3).map(tuple),
    unknown_at=st.none() | seconds,
)

# Of what Celery's JSON knows beside JSON: what a parked run's arguments may be.
typed = st.decimals(allow_nan=False) | st.uuids() | moments | st.binary()
arguments = st.recursive(
    plain | typed, lambda v: st.lists(v) | st.dictionaries(names, v), max_leaves=5
)

parked_runs = st.builds(
    ParkedRun,
    id=names.map(RunId),
    task=names,
    turn=st.integers(1, 1000),
    args=st.lists(arguments, max_size=3).map(lambda args: args or ()),
    kwargs=st.dictionaries(names, arguments, max_size=3),
    options=st.fixed_dictionaries(
        {"root_id": names},
        optional={"queue": names, "priority": st.integers(0, 255), "parent_id": names},
    ),
    child=st.none() | st.tuples(names, names),
    headers=st.dictionaries(names, arguments, max_size=3),
    hostname=st.none() | names,
)

fan_outs = st.builds(SentEvent, text, text, seconds, text.map(str.encode), st.booleans()).map(
    FanOut
)

gathered_calls = st.builds(
    GatheredCall,
    parent=names.map(RunId),
    parent_task=text,
    defer_id=names,
    at=seconds,
    depth=st.integers(0, 32),
    value=values.map(to_json),
    root=text.map(RunId),
    when=st.sampled_from(["success", "failure", "always", "now"]),
    experiment=st.none() | names,
    tags=st.dictionaries(names, names, max_size=2),
)
batches = st.builds(
    GatheredCalls,
    id=names.map(RunId),
    task=names,
    options=st.builds(
        Options, queue=names, headers=st.dictionaries(text.map("x-{}".format), values)
    ),
    calls=st.lists(gathered_calls, max_size=3).map(tuple),
)

ID = RunId("parent")
A_RECORD = DeferredCalls(
    parent=ID,
    root=RunId("root"),
    task="process",
    depth=1,
    verdict=Outcome.SUCCESS,
    at=5.0,
    inherited={"priority": 3},
    calls=(Call("ship", "ship", b'[[],{"n":1}]', 4.0, Options()),),
)


A_PARKED_RUN = ParkedRun(ID, "process", 1, options={"root_id": "parent"})
A_BATCH = GatheredCalls(
    ID,
    "write",
    Options(queue="slow"),
    (
        GatheredCall(RunId("a"), "view", "visit", 5.0, 0, b'{"page":"/"}', RunId("a")),
        GatheredCall(RunId("b"), "view", "visit", 6.0, 1, b'{"page":"/b"}', RunId("root")),
    ),
)
A_FAN_OUT = FanOut(SentEvent("id", "paid", 5.0, b"{}"))


# On a busy machine the first draws are slow.
@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])
@given(deferred_calls | batches | parked_runs | fan_outs)
def test_a_record_of_any_kind_comes_back_as_it_went_in(record: Record) -> None:
    id = record.id if isinstance(record, ParkedRun | GatheredCalls) else ID

    assert unpack(id, pack(record)) == record


def test_a_call_that_was_withdrawn_is_no_more_in_its_batch() -> None:
    body = pack(A_BATCH) + withdrawal(A_BATCH.calls[0].id)

    assert unpack(ID, body) == replace(A_BATCH, calls=A_BATCH.calls[1:])


@pytest.mark.parametrize("cut", [b"", b"[7]", b"\xff", b'["write",{}]\nno payload\n'])
def test_a_batch_that_is_none_is_not_read(cut: bytes) -> None:
    with pytest.raises(RecordError, match="the batch cannot be read"):
        unpack(ID, pack(A_BATCH)[:2] + cut)


def test_a_call_without_experiments_is_packed_as_in_the_release_before() -> None:
    assert b"experiments" not in pack(A_RECORD)


@pytest.mark.parametrize("record", [A_RECORD, A_BATCH, A_PARKED_RUN, A_FAN_OUT])
@given(version=st.integers(2, 255), body=st.binary())
def test_a_later_version_is_told_from_what_is_no_record(
    record: Record, version: int, body: bytes
) -> None:
    tag = pack(record)[:1]

    with pytest.raises(UnknownRecordError):
        unpack(ID, tag + bytes([version]) + body)


@pytest.mark.parametrize("record", [A_RECORD, A_BATCH, A_PARKED_RUN, A_FAN_OUT])
@given(tag=st.binary(min_size=1, max_size=1).filter(lambda tag: tag not in b"CBPF"))
def test_a_tag_that_nobody_has_given_is_none_of_a_record(record: Record, tag: bytes) -> None:
    with pytest.raises(RecordError, match="the record cannot be read") as caught:
        unpack(ID, tag + pack(record)[1:])

    assert not isinstance(caught.value, UnknownRecordError)


def test_options_come_back_with_their_types() -> None:
    options = Options(
        eta=datetime(2030, 1, 1, 12, 30, tzinfo=timezone.utc),
        expires=timedelta(days=2, seconds=1),
        headers={"tenant": ["acme", {"ü": None}]},
    )
    (call,) = A_RECORD.calls
    (again,) = came_back(replace(A_RECORD, calls=(replace(call, options=options),))).calls

    assert again.options == options
    assert again.options.expires == 2 * 86_400 + 1


def test_an_eta_keeps_its_moment_in_any_zone() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    eta = datetime(2030, 1, 1, 12, 30, tzinfo=zone)
    (call,) = A_RECORD.calls
    (again,) = came_back(replace(A_RECORD, calls=(replace(call, options=Options(eta=eta)),))).calls

    assert again.options.eta == eta


def came_back(record: DeferredCalls) -> DeferredCalls:
    back = unpack(record.parent, pack(record))
    assert isinstance(back, DeferredCalls)
    return back


def fields_of(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(pack(record)[2:])
    return fields


def body_of(fields: object, tag: bytes = b"C\x01") -> bytes:
    return tag + json.dumps(fields).encode()


def without(name: str) -> bytes:
    fields = fields_of(A_RECORD)
    del fields[name]
    return body_of(fields)


def but(**changes: Any) -> bytes:
    return body_of({**fields_of(A_RECORD), **changes})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00\xff\xfe", id="bytes"),
        pytest.param(b"C", id="no-version"),
        pytest.param(b"null", id="untagged"),
        pytest.param(body_of(None), id="null"),
        pytest.param(body_of([]), id="list"),
        pytest.param(body_of({}), id="object"),
        pytest.param(body_of({}, b"F\x01"), id="no-event"),
        pytest.param(pack(A_FAN_OUT)[:-1], id="cut-event"),
        pytest.param(pickle.dumps(A_RECORD), id="pickle"),
        pytest.param(pack(A_RECORD)[:-1], id="cut"),
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
        unpack(ID, body)


@given(st.sampled_from([b"", b"C\x01", b"P\x01", b"F\x01"]), st.binary())
def test_no_bytes_raise_anything_else(tag: bytes, rest: bytes) -> None:
    body = tag + rest
    with pytest.raises(RecordError):
        unpack(ID, body)


def test_what_is_wrong_with_a_record_is_told_by_its_place() -> None:
    call = {**fields_of(A_RECORD)["calls"][0], "options": {"priority": 300}}

    with pytest.raises(RecordError, match=r"calls\.0\.options\.priority: Input should be less"):
        unpack(ID, but(calls=[call]))
