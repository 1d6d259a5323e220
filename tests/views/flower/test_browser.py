"""The pages of the Deferred tab in a real browser: light and dark, narrow and wide.

With DEFER_SCREENSHOTS in the environment the pictures of the docs are taken anew.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from celery_defer.ids import RunId, run_id
from celery_defer.store import RunState, ScoreRow, Store
from tests.support.flower import Flower
from tests.support.held import SYNC, arrive, place
from tests.support.processes import ROOT, missing
from tests.views.flower.runs import EVIL, Call, add_experiment, add_run

pytestmark = pytest.mark.worker

_IMAGES = ROOT / "docs" / "images"
_WIDE, _NARROW = {"width": 1200, "height": 800}, {"width": 390, "height": 800}
_AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_RULES = "async (tags) => (await axe.run(document, {runOnly: tags})).violations"
_OVERFLOWS = "document.documentElement.scrollWidth > window.innerWidth"
_PAGES = (
    "runs", "failed", "wrong", "waiting", "limits", "outbox", "order", "review", "error", "sure",
    "experiments", "experiment", "wrong-experiment", "long-names", "scored",
)  # fmt: skip
# The pages that the docs show, and how.
_SHOWN = defaultdict(
    tuple, runs=("light",), order=("light",), review=("dark",), experiment=("light",)
)
#: About as long as a name may be.
LONG = "x" * 120


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = which("chromium") or which("google-chrome")
    if not (program and find_spec("playwright") and find_spec("axe_playwright_python")):
        missing("no chromium, or no playwright, to look at the pages with")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """The program that checks a page's contrast, names and roles."""
    import axe_playwright_python  # noqa: PLC0415

    return Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text("utf-8")


@pytest.fixture
def order(records: Store) -> RunId:
    """An order, with a call in each of several states."""
    tags = {"order": "7", "customer": "ada"}
    ping = Call("ping", "shop.ping_warehouse", tags=tags, took=0.1)
    calls = [
        Call("analytics", "shop.record_sale", tags=tags, took=0.1, payload={"order_id": "7"}),
        Call("receipt", "shop.send_receipt", tags=tags, took=0.3, calls=[ping]),
        Call("review", "shop.ask_for_review", RunState.WAITING, tags=tags, took=0.2),
        Call("invoice", "shop.print_invoice", RunState.FAILED, tags=tags, took=0.2),
        Call("gift", "shop.wrap_gift", RunState.PUBLISHED, tags=tags),
        Call("coupon", "shop.send_coupon", RunState.SKIPPED, tags=tags, refused="code=17",
             reason="PayloadError: payload of shop.send_coupon: code: Input should be a string"),
    ]  # fmt: skip
    records.quarantine(_staged(records), "token", "its record has an unknown version 9", 60)
    add_experiment(
        records, LONG, [f"a{LONG}", f"b{LONG}"], 8, [LONG, f"n{LONG}"], are_recorded=False
    )
    add_experiment(records, "checkout-flow", ["control", "one-page"], 400, are_recorded=False)
    for n in range(4):
        arrive(records, f"sync-{n}", place())
    records.set_limit(SYNC, "concurrency", {"limit": 1})
    order = add_run(records, "shop.process_order", calls, tags)
    tone = ScoreRow(run_id(order, "receipt"), "tone", 0.8, "draft", "warm")
    records.score([tone], [""], "", 600)
    return order


def _staged(records: Store) -> RunId:
    id = run_id("an order", "a call")
    records.stage(id, "token", b"what nobody can read", 1e10, 60)
    return id


def _addresses(order: RunId) -> dict[str, str]:
    return {
        "runs": "/deferred",
        "failed": "/deferred?state=failed",
        "wrong": "/deferred?since=long+ago",
        "waiting": "/deferred/waiting",
        "limits": "/deferred/limits",
        "outbox": "/deferred/outbox",
        "order": f"/deferred/run/{order}",
        "review": f"/deferred/run/{run_id(order, 'review')}",
        "error": "/deferred/run/nobody",
        "experiments": "/deferred/experiments",
        "experiment": "/deferred/experiment?id=checkout-flow&baseline=control",
        "wrong-experiment": "/deferred/experiment?id=checkout-flow&since=long+ago",
        "long-names": f"/deferred/experiment?id={LONG}",
        "scored": f"/deferred/run/{run_id(order, 'receipt')}",
    }


def _open(page: Any, flower: Flower, order: RunId, name: str) -> None:
    if name == "sure":
        page.goto(flower.url + _addresses(order)["review"])
        page.get_by_role("button", name="Cancel").click()
    else:
        page.goto(flower.url + _addresses(order)[name])


@pytest.mark.parametrize("size", [_WIDE, _NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_can_be_read_by_all(
    scheme: str, size: dict[str, int], browser: Any, axe: str, flower: Flower, order: RunId
) -> None:
    with browser.new_context(color_scheme=scheme, viewport=size) as context:
        for name in _PAGES:
            page = context.new_page()
            _open(page, flower, order, name)

            assert page.locator("html").get_attribute("data-bs-theme") == scheme
            assert not page.evaluate(_OVERFLOWS), name
            page.evaluate(axe)
            assert _problems(page.evaluate(_RULES, _AA)) == [], name
            if os.environ.get("DEFER_SCREENSHOTS") and size is _WIDE and scheme in _SHOWN[name]:
                page.screenshot(path=_IMAGES / f"flower-{name}-{scheme}.png", full_page=True)
            page.close()


def _problems(violations: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["id"], node["html"][:200]) for each in violations for node in each["nodes"]]


def test_a_run_is_found_and_ended_by_keyboard_alone(
    browser: Any, flower: Flower, order: RunId
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{flower.url}/deferred")

        _tab_to(page, "#deferred-task")
        page.keyboard.type("shop.wrap_gift")
        page.keyboard.press("Enter")
        page.wait_for_url("**/deferred?*task=shop.wrap_gift*")
        _tab_to(page, "td.deferred-task a")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/deferred/run/{run_id(order, 'gift')}")
        _tab_to(page, "form[action$=abort] button")
        page.keyboard.press("Enter")
        page.wait_for_url("**/deferred/do/abort")
        _tab_to(page, "button.btn-danger")
        page.keyboard.press("Enter")

        page.wait_for_url("**/deferred/run/*")
        said = page.locator("main .alert").all_text_contents()
        assert said == ["The call is withdrawn: its run does not start."]
        page.reload()
        assert page.get_by_text("The call is withdrawn").count() == 0
        assert page.get_by_text("withdrawn before it started").count() > 0


def test_the_experiment_of_a_run_is_compared_by_keyboard_alone(
    browser: Any, flower: Flower, order: RunId
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{flower.url}/deferred/experiments")

        _tab_to(page, "td.deferred-task a")
        page.keyboard.press("Enter")
        page.wait_for_url("**/deferred/experiment?id=checkout-flow")
        _tab_to(page, "#deferred-baseline")
        page.keyboard.type("one")
        _tab_to(page, "main button[type=submit]")
        page.keyboard.press("Enter")
        page.wait_for_url("**baseline=one-page**")

        assert page.locator("tbody").first.locator("th").first.inner_text() == "one-page"
        title, text = page.locator("svg > title").last, page.locator("svg > desc").last
        assert title.text_content() == "total: Difference to one-page, with its 95% interval"
        assert (text.text_content() or "").startswith("control: ")


def _tab_to(page: Any, selector: str) -> None:
    """Press Tab until the element has the focus, and check that this can be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            break
    else:
        raise AssertionError(f"no Tab leads to {selector}")
    style = "getComputedStyle(document.activeElement)"
    assert page.evaluate(f"[{style}.outlineStyle, {style}.boxShadow]") != ["none", "none"]


def test_the_pages_work_without_scripts(browser: Any, flower: Flower, order: RunId) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{flower.url}/deferred/waiting")
        page.get_by_role("link", name="Runs", exact=True).click()
        page.get_by_label("State").select_option("skipped")
        page.get_by_role("button", name="Filter").click()
        page.get_by_role("link", name="shop.send_coupon").click()

        assert page.get_by_text("Input should be a string").count()
        page.get_by_role("link", name="Waiting", exact=True).click()
        page.get_by_role("link", name="shop.ask_for_review").click()
        page.get_by_role("button", name="Cancel").click()
        assert page.get_by_text("Cancel this run?").count()


def test_nothing_that_a_user_has_chosen_is_run(
    browser: Any, flower: Flower, records: Store
) -> None:
    calls = [Call(f"a{EVIL}", f"b{EVIL}", RunState.FAILED, {EVIL: EVIL}, {"c": EVIL}, EVIL)]
    parent = add_run(records, EVIL, calls, {EVIL: EVIL})
    problems: list[str] = []

    with browser.new_context() as context:
        page = context.new_page()
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: problems.append(str(error)))
        for path in ("", f"/run/{parent}", f"/run/{run_id(parent, calls[0].id)}", "/waiting"):
            page.goto(f"{flower.url}/deferred{path}")

    assert problems == []


def test_a_strict_content_security_policy_breaks_nothing(
    browser: Any, flower: Flower, order: RunId
) -> None:
    problems: list[str] = []

    def with_policy(route: Any) -> None:
        response = route.fetch()
        policy = {"content-security-policy": "default-src 'self'; img-src 'self' data:"}
        route.fulfill(response=response, headers={**response.headers, **policy})

    with browser.new_context() as context:
        context.route("**/*", with_policy)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        for path in _addresses(order).values():
            page.goto(flower.url + path)

    assert [text for text in problems if "Content Security Policy" in text] == []
