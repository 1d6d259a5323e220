"""Where the cells of a table stand on a screen: an id is never divided or cut."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest

from celery_defer.ids import RunId
from celery_defer.store import RunState
from celery_defer.views.cli import render
from celery_defer.views.cli.layout import Layout
from celery_defer.views.cli.table import Table
from celery_defer.views.rows import OutboxRow, QuarantineRow, RunRecord, RunRow, WaitRow
from tests.views.cli.test_render import held

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=timezone.utc)
AGO = NOW - timedelta(seconds=62)
ID, CHILD = RunId(str(UUID(int=7))), RunId(str(UUID(int=8)))
RUN = RunRow(
    ID, "shop.process_order", RunState.SUCCEEDED, defer_id="the order of Ada", tags={"order": "7"},
    reason="a reason that is rather long, as reasons are, and longer", parent=CHILD,
    deferred_at=AGO, started_at=AGO, finished_at=NOW,
)  # fmt: skip
INVOKED = WaitRow(RUN, "ask", "run", NOW, NOW + timedelta(days=7), child=CHILD)
ON_EVENT = WaitRow(RUN, "ask", "event", NOW, NOW, "order/answered", {"order_id": 7, "by": "ada"})
LOST = QuarantineRow(ID, "calls", "shop.process_order", "it cannot be published: " * 9)
_, (_, CALLS) = render.record(RunRecord(RUN, defers=[RUN]), NOW)
TABLES = {
    "runs": render.runs([RUN], NOW),
    "waiting": render.waiting([INVOKED, ON_EVENT], NOW),
    "outbox": render.outbox(
        [OutboxRow(ID, "calls", "shop.process_order", NOW, 2, ["a"] * 40)], NOW
    ),
    "quarantine": render.quarantine([LOST]),
    "calls": CALLS,
}


def text_of(table: Table, width: int) -> str:
    layout = Layout.of(table, width)
    rows = [table.columns, *table.clean()]
    lines = ("  ".join(line).rstrip() for row in rows for line in layout.lines(row))
    return "\n".join(lines) + "\n"


def test_a_wide_screen_has_a_line_for_each_row() -> None:
    assert text_of(TABLES["runs"], 200) == held(
        f"""
        run                                   task                defer id          state      deferred       took     tags
        {ID}  shop.process_order  the order of Ada  succeeded  1 min 2 s ago  1 min 2 s  order=7
        """  # noqa: E501
    ).replace("took     tags", "took       tags")


def test_on_a_narrow_screen_an_id_has_a_line_of_its_own() -> None:
    assert text_of(TABLES["runs"], 80) == held(
        f"""
        run                                   task
          defer id          state      deferred       took       tags
        {ID}  shop.process_order
          the order of Ada  succeeded  1 min 2 s ago  1 min 2 s  order=7
        """
    )


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("name", TABLES)
def test_no_id_is_divided_or_cut(name: str, width: int) -> None:
    shown = text_of(TABLES[name], width)

    assert ID in shown
    assert name != "waiting" or CHILD in shown
    assert max(map(len, shown.splitlines())) <= width


def test_long_texts_are_divided_between_words() -> None:
    table = Table(("run", "reason"), [("one", "a b " * 20)], apart=["run"])

    assert text_of(table, 30).splitlines()[2:5] == [
        "one",
        "  a b a b a b a b a b a b a b",
        "  a b a b a b a b a b a b a b",
    ]


def test_a_word_is_divided_if_it_is_longer_than_an_id() -> None:
    table = Table(("step", "result"), [("charge", "x" * 50)])

    assert text_of(table, 46).splitlines()[1:] == [f"charge  {'x' * 38}", f"        {'x' * 12}"]
    assert text_of(table, 20).splitlines()[1:] == [f"charge  {'x' * 36}", f"        {'x' * 14}"]


def test_a_duration_is_not_divided() -> None:
    table = Table(("took", "tags"), [("1 min 2 s", "order=7 customer=ada")])

    assert text_of(table, 20).splitlines()[1:] == ["1 min 2 s  order=7", "           customer=ada"]
