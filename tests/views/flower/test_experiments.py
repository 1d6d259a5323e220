"""What the pages of experiments show, and the scores on the page of a run."""

from __future__ import annotations

import os
import re
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest

from celery_defer.ids import RunId
from celery_defer.store import Fact, RunState, ScoreRow, Store
from tests.support.flower import Flower, Visitor
from tests.support.redis import Server
from tests.views.flower.runs import EVIL, Call, add_experiment, add_run

pytestmark = pytest.mark.worker

# What an address could take for its own.
ODD = "../prompts?v=2 & #(final)!"


def page_of(visitor: Visitor, id: str, **more: str) -> str:
    query = "".join(f"&{name}={quote(text)}" for name, text in more.items())
    return unescape(visitor.page(f"/deferred/experiment?id={quote(id, safe='')}{query}"))


def rows_of(page: str, table: str) -> list[list[str]]:
    """Return the cells of a table of the page, by its name."""
    body = page.partition(f'aria-label="{table}"')[2].partition("<tbody>")[2]
    rows = body.partition("</tbody>")[0].split("<tr>")[1:]
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in rows]


def test_the_list_leads_to_each_experiment(visitor: Visitor, records: Store) -> None:
    add_experiment(records, "checkout", ["a", "b"], 4)
    add_experiment(records, ODD, ["c", "d"], 4)

    page = visitor.page("/deferred/experiments")

    links = re.findall(r'href="(/deferred/experiment\?[^"]+)"', page)
    assert len(links) == 2
    assert '<p class="deferred-name">../prompts?v=2 & #(final)!</p>' in unescape(
        visitor.page(links[0])
    )
    assert ">c</th>" in visitor.page(links[0])


def test_there_are_no_experiments(visitor: Visitor, server: Server) -> None:
    assert "No run has taken part in an experiment." in visitor.page("/deferred/experiments")
    missing = visitor.page("/deferred/experiment?id=lost", status=404)
    assert "No run has taken part in experiment" in missing


def test_an_experiment_has_its_variants_with_each_run_counted_once(
    visitor: Visitor, records: Store
) -> None:
    runs = add_experiment(records, "checkout", ["bold", "control"], 40)
    carried = (("checkout", "bold", runs[0]),)
    records.note([Fact(RunId("judge"), "judge", RunState.RUNNING, 60, b"{}", experiments=carried)])

    page = page_of(visitor, "checkout", baseline="control")

    # Of every tenth run, all in the first variant, there is no score; for one it is on its way.
    assert rows_of(page, "Table of variants") == [
        ["control", "20", "20", "0", "0", "0"],
        ["bold", "20", "16", "1", "3", "0"],
    ]
    assert "1 run is pending" in page
    assert "3 runs are without a score" in page


def test_each_score_has_its_numbers_and_a_picture_of_them(visitor: Visitor, records: Store) -> None:
    add_experiment(records, "checkout", ["control", "bold"], 40)

    page = page_of(visitor, "checkout", baseline="control")

    [first, other] = rows_of(page, "Table: total")
    assert (first[:3], first[-2:]) == (["control", "0", "16"], ["-", "-"])
    assert other[:3] == ["bold", "0", "20"]
    assert re.fullmatch(r"\S+ to \S+", other[-1])
    assert (
        page.count('class="deferred-plot"') == 4
    )  # for each score the values, and the differences
    assert "<desc " in page
    assert re.search(r"control: min 20, q1 \S+, median \S+, q3 \S+, max .+; bold: min 21", page)
    assert re.search(r'<path class="deferred-plot-zero" d="M[\d.]+ 19v19"', page)
    assert "total: " in page.partition('class="deferred-sentences"')[2].partition("</ul>")[0]


def test_what_is_compared_can_be_chosen(visitor: Visitor, records: Store) -> None:
    add_experiment(records, "checkout", ["a", "b", "c"], 9)

    def first(**chosen: str) -> list[str]:
        return rows_of(page_of(visitor, "checkout", **chosen), "Table of variants")[0][:2]

    assert first() == ["a", "3"]
    assert first(baseline="c") == ["c", "3"]
    assert first(since="1h") == ["a", "3"]
    assert "No run has taken part" in page_of(visitor, "checkout", since="2100-01-01")


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        ({"baseline": "z"}, "experiment 'checkout' has no variant 'z' to compare with"),
        ({"since": "once"}, "Since 'once' is neither a duration"),
    ],
)
def test_what_cannot_be_compared_is_said(
    chosen: dict[str, str], problem: str, visitor: Visitor, records: Store
) -> None:
    add_experiment(records, "checkout", ["a", "b"], 4)

    page = page_of(visitor, "checkout", **chosen)

    assert problem in page
    assert len(rows_of(page, "Table of variants")) == 2


def test_a_run_has_its_scores_and_leads_to_its_experiments(
    visitor: Visitor, records: Store
) -> None:
    run = add_experiment(records, "checkout", ["a", "b"], 4)[1]
    row = ScoreRow(run, "tone", 0.5, "draft", "warm", "judge", by=RunId("the-judge"))
    records.score([row], [""], "shop.checkout", 60)

    page = unescape(visitor.page(f"/deferred/run/{run}"))

    assert ["bought", "true"] in [cells[:2] for cells in rows_of(page, "Table of scores")]
    assert "<code>draft</code>" in page
    assert 'href="/deferred/run/the-judge"' in page
    assert 'href="/deferred/experiment?id=checkout">checkout: b</a>' in page


def test_nothing_that_a_user_has_chosen_is_html(visitor: Visitor, records: Store) -> None:
    evil = EVIL.replace("'", "")  # which names may not have
    runs = add_experiment(
        records, f"x{evil}", [f"a{evil}", f"b{evil}"], 40, [f"r{evil}", f"n{evil}"]
    )
    row = ScoreRow(runs[1], f"s{evil}", 1, f"step{evil}", f"comment{evil}", f"source{evil}")
    records.score([row], [""], "shop.checkout", 60)

    address = f"/deferred/experiment?id={quote(f'x{evil}', safe='')}"
    pages = [
        visitor.page("/deferred/experiments"),
        visitor.page(address),
        visitor.page(f"{address}&baseline={evil}&since={evil}"),
        visitor.page(f"/deferred/experiment?id={evil}", status=404),
        visitor.page(f"/deferred/run/{runs[1]}"),
    ]

    for page in pages:
        assert "<script>" not in page
        assert evil in unescape(page)
    for name in ("a", "b", "r", "n"):
        assert f"{name}{evil}" in unescape(pages[1])
    for name in ("s", "step", "comment", "source", "x", "b"):
        assert f"{name}{evil}" in unescape(pages[-1])


def test_the_pages_need_no_script_and_no_style_of_their_own(
    visitor: Visitor, records: Store
) -> None:
    add_experiment(records, "checkout", ["a", "b"], 20)

    for path in ("/deferred/experiments", "/deferred/experiment?id=checkout"):
        page = visitor.page(path)
        assert page.count("<script ") == page.count("<script src=")
        assert " style=" not in page
        assert "<style" not in page


def test_a_run_without_scores_has_no_table_of_them(visitor: Visitor, records: Store) -> None:
    parent = add_run(records, "shop.process_order", [Call("receipt")])

    assert "Scores" not in visitor.page(f"/deferred/run/{parent}")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux says it")
def test_ten_thousand_runs_take_less_than_a_third_of_a_second(
    visitor: Visitor, flower: Flower, records: Store
) -> None:
    """Of Flower's processor: a clock would measure what else the machine does."""
    add_experiment(records, "checkout", ["a", "b"], 10_000)
    visitor.page("/deferred/experiment?id=checkout")

    before = processor_seconds(flower.pid)
    for _ in range(5):
        visitor.page("/deferred/experiment?id=checkout")

    assert (processor_seconds(flower.pid) - before) / 5 < 0.3


def processor_seconds(pid: int) -> float:
    """Return for how long a process has computed, in its own name and in the system's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
