"""Rows, as the command line prints them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from textwrap import dedent

from celery_defer.ids import RunId
from celery_defer.store import RunState
from celery_defer.views.cli import render
from celery_defer.views.cli.table import Fields, Table, branches
from celery_defer.views.rows import (
    OutboxRow,
    QuarantineRow,
    RunRecord,
    RunRow,
    RunTree,
    StepRow,
    WaitRow,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=timezone.utc)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


ORDER = RunRow(
    RunId("order"), "shop.order", RunState.SUCCEEDED, tags={"order": "7"}, attempts=1,
    started_at=ago(62), finished_at=ago(60),
)  # fmt: skip
RECEIPT = RunRow(
    RunId("receipt-run"), "shop.send_receipt", RunState.FAILED, defer_id="receipt",
    parent=RunId("order"), root=RunId("order"), payload={"order_id": 7},
    reason="SMTPError('no route')", attempts=3,
    deferred_at=ago(61), published_at=ago(60), started_at=ago(59.5), finished_at=ago(50),
)  # fmt: skip
FEEDBACK = RunRow(
    RunId("feedback-run"), "shop.ask", RunState.WAITING, defer_id="feedback",
    parent=RunId("order"), root=RunId("order"), deferred_at=ago(61), published_at=ago(60),
    started_at=ago(59),
)  # fmt: skip
COUPON = RunRow(
    RunId("coupon-run"), "shop.coupon", RunState.BUFFERED, defer_id="coupon\x1b[2J",
    parent=RunId("feedback-run"), root=RunId("order"), deferred_at=ago(3),
)  # fmt: skip
WAIT = WaitRow(
    FEEDBACK, "reply", "event", ago(58), NOW + timedelta(days=7), "shop/replied", {"order_id": 7}
)


def text_of(block: Table | Fields) -> str:
    return "\n".join(block.lines()) + "\n"


def held(text: str) -> str:
    return dedent(text).lstrip("\n")


def test_a_list_of_runs() -> None:
    assert text_of(render.runs([FEEDBACK, RECEIPT, ORDER], NOW)) == held(
        """
        run           task               defer id  state      deferred       took   tags
        feedback-run  shop.ask           feedback  waiting    1 min 1 s ago  -
        receipt-run   shop.send_receipt  receipt   failed     1 min 1 s ago  9.5 s
        order         shop.order         -         succeeded  1 min 2 s ago  2 s    order=7
        """
    )


def test_a_tree() -> None:
    feedback = RunTree(FEEDBACK, [RunTree(COUPON)], WAIT)
    tree = RunTree(ORDER, [feedback, RunTree(RECEIPT)])

    assert "\n".join("".join(line) for line in render.tree(tree, NOW)) + "\n" == held(
        """
        shop.order  succeeded  2 s  order
        ├─ feedback: shop.ask  waiting  feedback-run  waits for event shop/replied, 7 d left
        │  └─ coupon\x1b[2J: shop.coupon  buffered  coupon-run
        └─ receipt: shop.send_receipt  failed  9.5 s  receipt-run  SMTPError('no route')
        """
    )


def test_a_tree_says_when_a_run_starts() -> None:
    run = replace(RECEIPT, state=RunState.PUBLISHED, reason=None, started_at=None, finished_at=None)
    run = replace(run, starts_at=NOW + timedelta(minutes=14))

    [(_, _, end)] = render.tree(RunTree(run), NOW)
    fields = text_of(dict(render.record(RunRecord(run), NOW))[""])

    assert end == "  receipt-run  starts in 14 min"
    assert "starts at    2026-11-20 12:14:00 UTC (in 14 min)" in fields


def test_the_start_of_a_run_counts_from_when_it_was_due() -> None:
    run = replace(RECEIPT, starts_at=ago(59.75))

    assert "250 ms after it was due" in text_of(dict(render.record(RunRecord(run), NOW))[""])


def test_a_reason_in_a_tree_is_cut_on_a_terminal_only() -> None:
    tree = RunTree(replace(RECEIPT, reason="x" * 61))

    assert render.tree(tree, NOW)[0][2].endswith("  " + "x" * 61)
    assert render.tree(tree, NOW, 60)[0][2].endswith("  " + "x" * 59 + "…")


def test_the_branches_of_a_tree() -> None:
    assert branches([0, 1, 2, 3, 1, 2, 1]) == [
        "",
        "├─ ",
        "│  └─ ",
        "│     └─ ",
        "├─ ",
        "│  └─ ",
        "└─ ",
    ]
    assert branches([]) == []


def test_a_record_of_a_run() -> None:
    steps = [
        StepRow("charge", "run", "finished", 2, ago(59), ago(58), {"id": 1}),
        StepRow("mail", "run", "failed", 1, ago(58), ago(57.99), failure="OSError('x')"),
    ]
    record = RunRecord(RECEIPT, ORDER, steps=steps, siblings=[FEEDBACK])
    blocks = {title: text_of(block) for title, block in render.record(record, NOW)}

    assert blocks[""] == held(
        """
        run          receipt-run
        task         shop.send_receipt
        state        failed
        reason       SMTPError('no route')
        deferred as  receipt of run order (shop.order)
        root         order
        payload      {"order_id":7}
        attempts     3
        deferred     2026-11-20 11:58:59 UTC (1 min 1 s ago)
        published    2026-11-20 11:59:00 UTC (1 min ago)
        started      2026-11-20 11:59:00 UTC (1 min ago), 500 ms after it was published
        finished     2026-11-20 11:59:10 UTC (50 s ago), 9.5 s after it started
        """
    )
    assert blocks["steps"] == held(
        """
        step    kind  state     tries  took   result
        charge  run   finished  2      1 s    {"id":1}
        mail    run   failed    1      10 ms  OSError('x')
        """
    )
    assert blocks["siblings"] == held(
        """
        defer id  task      state    run           latency  took  reason
        feedback  shop.ask  waiting  feedback-run  1 s      -
        """
    )
    assert set(blocks) == {"", "steps", "siblings"}


def test_a_record_says_what_its_run_waits_for() -> None:
    [(_, fields)] = render.record(RunRecord(FEEDBACK, waits_for=WAIT), NOW)

    assert (
        "waits for    event shop/replied (order_id=7), at step 'reply', "
        "until 2026-11-27 12:00:00 UTC (in 7 d)\n"
    ) in text_of(fields)


def test_what_runs_wait_for() -> None:
    invoked = WaitRow(ORDER, "ask", "run", ago(5), child=RunId("child"))

    assert text_of(render.waiting([WAIT, invoked], NOW)) == held(
        """
        run           task        step   waits for                        since     until
        feedback-run  shop.ask    reply  event shop/replied (order_id=7)  58 s ago  in 7 d
        order         shop.order  ask    run child                        5 s ago   -
        """
    )


def test_the_records_of_the_outbox() -> None:
    rows = [OutboxRow("order", "calls", "shop.order", ago(5), 2, ["receipt", "mail"])]

    assert text_of(render.outbox(rows, NOW)) == held(
        """
        record  kind   task        due      tries  calls
        order   calls  shop.order  5 s ago  2      receipt, mail
        """
    )


def test_the_records_in_quarantine() -> None:
    rows = [QuarantineRow("order", "calls", "shop.order", "cannot be\npublished")]

    assert text_of(render.quarantine(rows)) == held(
        """
        record  kind   task        reason
        order   calls  shop.order  cannot be published
        """
    )


def test_how_many_runs_are_in_each_state() -> None:
    counts = {(RunState.FAILED, "b"): 2, (RunState.WAITING, "a"): 1}

    assert text_of(render.counts(counts)) == held(
        """
        task       buffered  running  waiting  failed  quarantined
        a                             1
        b                                      2
        all tasks  0         0        1        2       0
        """
    )


def test_a_state_that_few_runs_are_in_has_a_column_if_there_are_any() -> None:
    assert "aborted" not in render.counts({}).columns
    assert "aborted" in render.counts({(RunState.ABORTED, "a"): 1}).columns


def test_no_text_of_a_user_reaches_the_terminal_as_it_is() -> None:
    assert "\x1b" not in text_of(render.runs([COUPON], NOW))
    assert "\x1b" not in text_of(Fields([("payload", "a\x1b[2J")]))
