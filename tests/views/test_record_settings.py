"""What a record shows of payloads, and whether there is one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from celery_defer import NoRecordError, RunRow, defer, record, step
from celery_defer.errors import OptionError, SettingsError
from celery_defer.views import runs
from tests.support.inside import Worker, parent_of, ship_of
from tests.support.one_redis import ONE_TRANSACTION, app_on
from tests.support.redis import Server

pytestmark = ONE_TRANSACTION


def without_number(task: str, payload: Any) -> Any:
    return {"task": task, "keys": sorted(payload)}


def broken(task: str, payload: Any) -> Any:
    raise ValueError("no mask")


def call_on(server: Server, number: Any = 1, **settings: Any) -> RunRow:
    """Return the row of a call that a run has made, in an app with these settings."""
    app = app_on(server, **settings)
    ship = ship_of(app)
    parent = Worker(app).run(parent_of(app, lambda: defer("ship", ship, n=number) and None))
    [call] = record(parent.id, app=app).defers
    return call


def histories_on(server: Server) -> list[bytes]:
    client: Any = server.client(db=4)
    return [client.get(key) for key in client.scan_iter("*:history")]


def test_a_payload_is_shown(server: Server) -> None:
    assert call_on(server).payload == {"n": 1}


def test_a_payload_is_hidden(server: Server) -> None:
    assert call_on(server, defer_record_payloads=False).payload is None


@pytest.mark.parametrize("mask", [without_number, f"{__name__}.without_number"])
def test_a_payload_is_masked(server: Server, mask: Any) -> None:
    row = call_on(server, defer_record_payloads=mask)

    assert row.payload == {"task": "ship", "keys": ["n"]}


def test_what_a_mask_was_to_hide_is_not_in_the_store(server: Server) -> None:
    call_on(server, number=987_654_321, defer_record_payloads=without_number)

    kept = histories_on(server)
    assert kept
    assert not [body for body in kept if b"987654321" in body]


def test_a_payload_whose_mask_raises_is_hidden(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert call_on(server, defer_record_payloads=broken).payload is None
    assert "could not mask a payload of ship" in caplog.text


def test_a_refused_payload_is_not_shown_where_payloads_are_masked(server: Server) -> None:
    row = call_on(server, number="secret", defer_record_payloads=without_number)

    assert (row.state.value, row.refused) == ("skipped", None)


def test_a_refused_payload_of_a_repeated_id_is_not_shown_either(server: Server) -> None:
    app = app_on(server, defer_record_payloads=False)
    ship = ship_of(app)

    def body() -> None:
        defer("ship", ship, n=1)
        defer("ship", ship, n=987_654_321)

    parent = Worker(app).run(parent_of(app, body))
    defers = record(parent.id, app=app).defers

    assert [(row.state.value, row.refused) for row in defers if row.reason] == [("skipped", None)]
    assert b"987654321" not in b"".join(histories_on(server))


@pytest.mark.parametrize(
    ("shown", "match"),
    [(True, {"order_id": 987_654_321}), (False, {"order_id": "***"})],
    ids=["shown", "hidden"],
)
def test_what_an_event_must_have_is_shown_as_payloads_are(
    server: Server, shown: bool, match: Any
) -> None:
    app = app_on(server, defer_record_payloads=shown)

    def body() -> None:
        step.wait_for_event("paid", "order/paid", timeout="1h", match={"order_id": 987_654_321})

    parent = Worker(app).run(parent_of(app, body))
    wait = record(parent.id, app=app).waits_for

    assert wait is not None
    assert (wait.event, wait.match) == ("order/paid", match)
    assert (b"987654321" in b"".join(histories_on(server))) is shown


def test_a_mask_that_cannot_be_imported_is_named(server: Server) -> None:
    app = app_on(server, defer_record_payloads="no.such.module")

    with pytest.raises(SettingsError, match="defer_record_payloads"):
        _ = app._celery_defer.settings  # type: ignore[attr-defined]


def test_without_records_nothing_is_known_and_the_error_names_the_setting(server: Server) -> None:
    app = app_on(server, defer_record=False)
    ship = ship_of(app)
    parent = Worker(app).run(parent_of(app, lambda: defer("ship", ship, 1) and None))

    with pytest.raises(NoRecordError, match="defer_record = False"):
        record(parent.id, app=app)
    assert not [*server.client(db=4).scan_iter("*:history")]


def test_a_list_goes_back_to_a_moment(server: Server) -> None:
    app = app_on(server)
    ship = ship_of(app)
    Worker(app).run(parent_of(app, lambda: defer("ship", ship, 1) and None))
    now = datetime.now(timezone.utc)

    assert len(runs(app=app, since=now - timedelta(minutes=1)).rows) == 2
    assert len(runs(app=app, since=datetime(1, 1, 1, tzinfo=timezone.utc)).rows) == 2
    assert runs(app=app, since=now + timedelta(minutes=1)).rows == []


@pytest.mark.parametrize("cursor", ["tomorrow", "nan-1-x", "inf-1-x", f"1-{10**30}-x", "-1-1-x"])
def test_a_cursor_that_is_none_is_refused(server: Server, cursor: str) -> None:
    with pytest.raises(OptionError, match="is no cursor"):
        runs(app=app_on(server), cursor=cursor)
