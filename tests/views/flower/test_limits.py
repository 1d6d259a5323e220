"""Limits, and the runs that they hold back, in the Deferred tab."""

from __future__ import annotations

import re
from html import unescape

import pytest

from celery_defer.ids import RunId
from celery_defer.run import told_batched, told_replaced
from celery_defer.store import Fact, RunState, Store
from tests.support.flower import Visitor
from tests.support.held import KEEP, SYNC, arrive, place
from tests.support.redis import Server
from tests.views.flower.runs import EVIL

pytestmark = pytest.mark.worker

PAGE = "/deferred/limits"


@pytest.fixture(autouse=True)
def line(records: Store) -> Store:
    """Customer 7 has one run in progress, and two in line."""
    for run in ("first", "second", "third"):
        arrive(records, run, place())
    return records


def cells(page: str) -> list[str]:
    """Return the texts of the cells of a page's table."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    found = re.findall(r"<td.*?</td>", body, re.S)
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", cell)).split()) for cell in found]


def test_the_page_has_what_is_in_force_in_use_and_held(visitor: Visitor, line: Store) -> None:
    line.set_limit(SYNC, "concurrency", {"limit": 1})

    page = visitor.page(PAGE)

    assert cells(page) == [
        SYNC, "concurrency", "1 at a time changed: limit", "1", "1", "2", "Pause",
    ]  # fmt: skip
    assert f'href="/deferred/waiting?kind=limit&amp;task={SYNC}"' in page
    assert cells(visitor.page(f"{PAGE}?task={SYNC}")) == cells(page)


def test_an_unknown_task_is_said(visitor: Visitor) -> None:
    page = visitor.page(f"{PAGE}?task={EVIL}")

    assert "this app has no task" in page
    assert EVIL not in page


def test_without_limits_the_page_says_so(visitor: Visitor, server: Server) -> None:
    server.client().flushall()

    assert "No task has limits." in visitor.page(PAGE)


def test_a_task_is_paused_and_goes_on(visitor: Visitor, line: Store) -> None:
    visitor.press(PAGE, "pause")

    page = visitor.page(PAGE)
    assert f"Task {SYNC} is paused" in page
    assert line.flow([SYNC])[0].is_paused

    visitor.press(PAGE, "resume")

    assert f"Task {SYNC} goes on." in visitor.page(PAGE)
    assert not line.flow([SYNC])[0].is_paused


def test_a_task_without_limits_is_not_paused(visitor: Visitor) -> None:
    form = visitor.form(visitor.page(PAGE), "pause")

    response = visitor.submit(form, task="shop.plain")

    assert response.status_code == 409
    assert "this app has no task" in response.text


def test_held_runs_are_shown_with_their_place(visitor: Visitor) -> None:
    stands = "its concurrency, key 7, place 2 in line"

    assert stands in visitor.page("/deferred/waiting?kind=limit")
    assert stands not in visitor.page("/deferred/waiting?kind=sleep")
    assert f"waits for {stands}" in visitor.page("/deferred?state=held")
    assert stands in visitor.page("/deferred/run/third")


def test_a_kind_of_wait_that_there_is_not_is_said(visitor: Visitor) -> None:
    assert "A run can wait for one of these" in visitor.page("/deferred/waiting?kind=luck")


def test_a_held_run_can_be_cancelled_and_not_woken(visitor: Visitor) -> None:
    page = visitor.page("/deferred/run/third")

    assert 'action="/deferred/do/cancel"' in page
    assert 'action="/deferred/do/wake"' not in page
    assert 'action="/deferred/do/wake"' not in visitor.page("/deferred/waiting")


def test_a_run_links_to_the_one_that_runs_in_its_place(visitor: Visitor, line: Store) -> None:
    line.note(
        [
            Fact(RunId("old"), SYNC, RunState.REPLACED, KEEP, b"{}", told_replaced(RunId("third"))),
            Fact(RunId("one"), SYNC, RunState.BATCHED, KEEP, b"{}", told_batched(RunId("first"))),
        ]
    )

    assert 'href="/deferred/run/third"' in visitor.page("/deferred/run/old")
    assert 'href="/deferred/run/first"' in visitor.page("/deferred/run/one")
