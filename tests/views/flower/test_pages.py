"""What the pages of the Deferred tab show."""

from __future__ import annotations

from html import unescape

import pytest

from celery_defer.ids import run_id
from celery_defer.store import RunState, Store
from tests.support.flower import Visitor
from tests.support.redis import Server
from tests.views.flower.runs import EVIL, Call, add_many, add_run

pytestmark = pytest.mark.worker


def test_the_list_shows_runs_and_what_deferred_them(visitor: Visitor, records: Store) -> None:
    calls = [Call("receipt", tags={"order": "7"}), Call("bad", state=RunState.SKIPPED, reason="no")]
    parent = add_run(records, "shop.process_order", calls)

    page = visitor.page("/deferred")

    assert "shop.process_order" in page
    assert f'href="/deferred/run/{run_id(parent, "receipt")}"' in page
    assert f'href="/deferred/run/{parent}"' in page
    assert "order=7" in page
    assert "SKIPPED" in page


def test_the_list_can_be_filtered(visitor: Visitor, records: Store) -> None:
    calls = [
        Call("one", "shop.one", tags={"order": "7"}),
        Call("two", "shop.two", RunState.FAILED),
    ]
    parent = add_run(records, "shop.process_order", calls)
    one, two = (f"/deferred/run/{run_id(parent, name)}" for name in ("one", "two"))

    def shown(query: str) -> list[str]:
        page = visitor.page(f"/deferred?{query}")
        return [address for address in (one, two) if f'href="{address}"' in page]

    assert shown("state=failed") == [two]
    assert shown("task=shop.one") == [one]
    assert shown("tag=order%3D7") == [one]
    assert shown(f"parent={parent}") == [one, two]
    assert shown(f"parent={parent}&state=failed") == [two]
    assert shown("since=1h") == [one, two]
    assert shown("since=2100-01-01") == []


def test_the_list_has_a_filter_for_each_state_in_which_a_run_can_be_listed(
    visitor: Visitor, server: Server
) -> None:
    page = visitor.page("/deferred")

    assert '<option value="quarantined">' in page
    assert '<option value="unknown">' not in page


def test_a_filter_that_cannot_be_read_is_said(visitor: Visitor, server: Server) -> None:
    page = visitor.page("/deferred?since=long+ago&task=shop.one")

    assert "Since 'long ago' is neither a duration" in unescape(page)
    assert 'value="shop.one"' in page


def test_the_list_of_a_parent_that_is_not_known_says_so(visitor: Visitor, server: Server) -> None:
    page = visitor.page("/deferred?parent=nobody")

    assert "nothing is known of run nobody" in page
    assert 'value="nobody"' in page


def test_the_list_has_pages(visitor: Visitor, records: Store) -> None:
    parents = add_many(records, 200)

    pages, address = [], "/deferred?task=shop.send_receipt"
    while address:
        pages.append(visitor.page(address))
        address = _next(pages[-1])

    shown = [id for page in pages for id in _runs(page)]
    assert len(shown) == len(set(shown)) == 180
    assert len(pages) >= 4
    assert set(shown) == {run_id(p, f"receipt-{n}") for p in parents for n in range(9)}


def _next(page: str) -> str:
    before, found, _ = page.partition('">Older</a>')
    return before.rpartition('href="')[2].replace("&amp;", "&") if found else ""


def _runs(page: str) -> list[str]:
    parts = page.split('class="deferred-task')[1:]
    return [part.partition("/deferred/run/")[2].partition('"')[0] for part in parts]


def test_a_run_shows_all_that_is_known_of_it(visitor: Visitor, records: Store) -> None:
    calls = [
        Call("receipt", payload={"email": "ada@example.com"}, tags={"order": "7"}),
        Call("bad", state=RunState.SKIPPED, reason="no such mail", refused='{"email": "ada"}'),
        Call("odd", state=RunState.SKIPPED, reason="no", refused="({'email': <object>},)"),
    ]
    parent = add_run(records, "shop.process_order", calls)

    page = visitor.page(f"/deferred/run/{run_id(parent, 'receipt')}")
    skipped = visitor.page(f"/deferred/run/{run_id(parent, 'bad')}")
    odd = visitor.page(f"/deferred/run/{run_id(parent, 'odd')}")

    assert '{"email":"ada@example.com"}' in unescape(page)
    assert f'href="/deferred/run/{parent}"' in page
    assert f'href="/deferred/run/{run_id(parent, "bad")}"' in page  # its sibling
    assert "no such mail" in skipped
    assert '<code>{"email":"ada"}</code>' in unescape(skipped)
    assert "({'email': <object>},)" in unescape(odd)


def test_a_parent_shows_the_tree_below_it(visitor: Visitor, records: Store) -> None:
    parent = add_run(records, "shop.process_order", [Call("one"), Call("two")])

    page = visitor.page(f"/deferred/run/{parent}")

    assert _runs(page) == [parent, run_id(parent, "one"), run_id(parent, "two")]
    assert page.count('role="img"') == 3  # each with its bar


def test_a_tree_says_what_a_run_waits_for(visitor: Visitor, records: Store) -> None:
    parent = add_run(records, "shop.process_order", [Call("review", state=RunState.WAITING)])

    page = visitor.page(f"/deferred/run/{parent}")

    assert "waits for event parcel/delivered, " in page
    assert " left</span>" in page


def test_a_tree_of_a_thousand_runs_has_pages(visitor: Visitor, records: Store) -> None:
    parent = add_run(records, "shop.process_order", [Call(f"call-{n}") for n in range(1_000)])

    first = visitor.page(f"/deferred/run/{parent}")
    last = visitor.page(f"/deferred/run/{parent}?from=1000")

    assert len(_runs(first)) == 200
    assert 'href="?from=200"' in first
    assert _runs(last) == [run_id(parent, "call-999")]
    assert "from=1200" not in last


def test_a_run_of_which_nothing_is_known_is_not_found(visitor: Visitor, server: Server) -> None:
    page = visitor.page("/deferred/run/nobody", status=404)

    assert "nothing is known of run nobody" in page


def test_the_page_of_a_task_that_flower_has_forgotten_leads_to_its_record(
    visitor: Visitor, records: Store
) -> None:
    parent = add_run(records, "shop.process_order", [])

    response = visitor.get(f"/task/{parent}")

    assert response.headers["location"] == f"/deferred/run/{parent}"
    visitor.page("/task/nobody", status=404)


def test_nothing_that_a_user_has_chosen_is_html(visitor: Visitor, records: Store) -> None:
    calls = [
        Call(f"failed{EVIL}", f"shop{EVIL}", RunState.FAILED, {f"a{EVIL}": EVIL}, {"t": EVIL}),
        Call(f"skipped{EVIL}", state=RunState.SKIPPED, reason=EVIL, refused=EVIL),
    ]
    parent = add_run(records, f"order{EVIL}", calls, {f"k{EVIL}": EVIL})
    records.stage(parent, "token", b"", 1e10, 60)
    runs = [parent, *(run_id(parent, call.id) for call in calls)]

    pages = [
        *(visitor.page(f"/deferred/run/{run}") for run in runs),
        *(visitor.page(f"/deferred{path}") for path in ("", "/waiting", "/outbox")),
        visitor.page(f"/deferred?task={EVIL}&tag=a={EVIL}&parent={EVIL}"),
        visitor.page(f"/deferred?since={EVIL}"),
        visitor.page(f"/deferred/waiting?event={EVIL}&task={EVIL}"),
        visitor.page(f"/deferred/run/{EVIL}", status=404),
        visitor.page(f"/deferred?cursor={EVIL}"),
    ]

    assert all(EVIL in unescape(page) for page in pages[:4])
    for page in pages:
        assert "<script>" not in page


def test_a_page_needs_no_script_and_no_style_of_its_own(visitor: Visitor, records: Store) -> None:
    """So a Content-Security-Policy may forbid those that stand in a page."""
    parent = add_run(records, "shop.process_order", [Call("receipt")])

    for path in ("", "/waiting", "/outbox", f"/run/{parent}"):
        page = visitor.page(f"/deferred{path}")
        assert page.count("<script ") == page.count("<script src=")
        assert " style=" not in page
        assert "<style" not in page
        assert " onclick=" not in page
