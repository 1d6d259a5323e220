"""The trial in its quick form, and its judge on what is not so: it can say no."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from celery_defer import run_id
from celery_defer.contract import Scoring
from tests.support.processes import ROOT
from tests.worker.trial.verdict import (
    expected_kind,
    expected_scores,
    of_counts,
    of_kinds,
    of_scores,
)
from tests.worker.trial.visitors import SAMPLE, Visitor

IN_SAMPLE = next(f"{n}" for n in range(99) if Scoring(SAMPLE).takes(f"{n}", "polite"))
NOT_IN_IT = next(f"{n}" for n in range(99) if not Scoring(SAMPLE).takes(f"{n}", "polite"))


@pytest.mark.worker
@pytest.mark.parametrize(
    "options", [[], pytest.param(["--rabbitmq"], marks=pytest.mark.matrix)], ids=["redis", "rabbit"]
)
def test_an_experiment_shows_what_is_true_though_workers_are_killed(options: list[str]) -> None:
    # Its app would be the current one of other tests in this process.
    command = [sys.executable, "-m", "tests.worker.trial", "--quick", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "violations: 0" in done.stdout
    for moment in ("a variant was taken", "its score was written", "its result was stored"):
        assert re.search(rf"[1-9]\d* +child, {moment}", done.stdout), moment


def visitor(plan: str, id: str = "v", spent: float = 0.0) -> Visitor:
    return Visitor(id, plan, {"control": 0.0, "variant": spent}, 0)


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (visitor("followed"), "scored"),
        (visitor("sampled", IN_SAMPLE), "scored"),
        (visitor("sampled", NOT_IN_IT), "not_sampled"),
        (visitor("ignored"), "missing"),
        (visitor("failing"), "missing"),
        (visitor("silent"), "missing"),
    ],
)
def test_a_visit_is_counted_as_its_plan_says(one: Visitor, kind: str) -> None:
    assert expected_kind(one) == kind
    assert list(of_kinds({one.id: kind}, {one.id: one}, is_over=True)) == []


def test_a_visit_may_be_pending_until_all_is_over() -> None:
    sent = {"v": visitor("followed")}

    assert list(of_kinds({"v": "pending"}, sent)) == []
    assert list(of_kinds({"v": "pending"}, sent, is_over=True)) != []


@pytest.mark.parametrize("kind", ["missing", "not_sampled"])
def test_a_visit_that_is_followed_is_never_anything_else(kind: str) -> None:
    assert list(of_kinds({"v": kind}, {"v": visitor("followed")})) != []


def counts(assigned: int, scored: int, pending: int) -> dict[str, int]:
    return {
        "assigned": assigned, "scored": scored, "pending": pending, "missing": 0, "not_sampled": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (counts(9, 5, 4), ""),
        (counts(9, 5, 3), "not those of all runs"),
        (counts(7, 5, 2), "are gone"),
        (counts(9, 4, 5), "are gone"),
    ],
)
def test_the_counts_are_of_all_runs_and_none_goes(now: dict[str, int], says: str) -> None:
    found = " ".join(of_counts(counts(8, 5, 3), now))

    assert says in found
    assert bool(found) == bool(says)


def test_who_buys_has_scores_in_two_runs() -> None:
    waits = run_id("v", "bought")

    assert expected_scores(visitor("followed", spent=70.0), "variant") == {
        "v": {"bought": True},
        waits: {"spent": 70.0, "large": True},
    }
    assert expected_scores(visitor("followed", spent=70.0), "control") == {
        "v": {"bought": False},
        waits: {},
    }


@pytest.mark.parametrize("rows", [[], [("bought", True), ("bought", True)], [("bought", False)]])
def test_a_score_that_is_lost_doubled_or_wrong_is_found(rows: list[tuple[str, bool]]) -> None:
    assert list(of_scores("v", {"bought": True}, rows)) != []
    assert list(of_scores("v", {"bought": True}, [("bought", True)])) == []
