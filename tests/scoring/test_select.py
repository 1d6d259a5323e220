"""Which variant a run takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from celery_defer.errors import DeferError, ExperimentError, NonRetriable
from celery_defer.scoring import Choice, bucket, chosen, fixed, weighted
from celery_defer.scoring import assignment as module

TWO = ("control", "variant")
EQUAL = {"control": 1, "variant": 1}
KNOWN = [
    ("alice", 50, "control"),
    ("bob", 50, "variant"),
    ("charlie", 80, "control"),
    ("grace", 80, "variant"),
]
PYTHONS = [
    sys.executable,
    *map(str, sorted(Path.home().glob(".pyenv/versions/3.1[0-9]*/bin/python"))),
]


class Plan(Enum):
    FREE = "free"


def choice(*variants: str, experiment: str = "checkout-flow", run_id: str = "r-1") -> Choice:
    return Choice(experiment, run_id, variants or TWO)


# -- assignment ---------------------------------------------------------------------


@pytest.mark.parametrize(("key", "share", "variant"), KNOWN)
def test_a_key_takes_the_known_variant(key: str, share: int, variant: str) -> None:
    weights = {"variant": 100 - share, "control": share}

    assert bucket(key, weights)(choice()) == variant


@pytest.mark.parametrize("key", ["alice", "bob"])
def test_without_weights_all_weigh_the_same(key: str) -> None:
    assert bucket(key)(choice()) == bucket(key, EQUAL)(choice())


def test_the_sum_of_the_weights_is_of_no_matter() -> None:
    for key in map(str, range(500)):
        parts = bucket(key, {"control": 0.8, "variant": 0.2})(choice())
        assert parts == bucket(key, {"control": 8e300, "variant": 2e300})(choice())
        assert parts == bucket(key, {"control": Decimal(80), "variant": 20})(choice())


def test_variants_are_sorted_by_name_however_they_are_given() -> None:
    assert choice("b", "a", "C").variants == ("C", "a", "b")
    assert bucket("alice")(choice("z", "a")) == "a"


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
@pytest.mark.parametrize("python", PYTHONS)
def test_each_process_and_each_python_gives_the_same(python: str, seed: str) -> None:
    """Interpreters that pyenv keeps have no packages, so they run the one file."""
    code = (
        "import json, runpy, sys; variant_of = runpy.run_path(sys.argv[1])['variant_of'];"
        "print(json.dumps([[variant_of(key, weights) for weights in "
        "({'b': 1, 'a': 1, 'c': 1}, {'variant': 20, 'control': 80})] "
        "for key in [*map(str, range(200)), 'Zoë', '']]))"
    )
    done = subprocess.run(
        [python, "-c", code, str(module.__file__)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )

    keys = [*map(str, range(200)), "Zoë", ""]
    shares = {"control": 80.0, "variant": 20.0}
    assert json.loads(done.stdout) == [
        [module.variant_of(key, dict.fromkeys("abc", 1.0)), module.variant_of(key, shares)]
        for key in keys
    ]


def test_each_variant_gets_its_share_of_runs() -> None:
    select = weighted({"a": 1, "b": 2, "c": 7})
    took = Counter(select(choice("a", "b", "c", run_id=f"run-{n}")) for n in range(10_000))

    # Four standard deviations of a binomial count.
    assert took["a"] == pytest.approx(1_000, abs=120)
    assert took["b"] == pytest.approx(2_000, abs=160)
    assert took["c"] == pytest.approx(7_000, abs=184)


def test_a_run_takes_the_same_variant_each_time() -> None:
    assert weighted(EQUAL)(choice()) == weighted(EQUAL)(choice())


def test_what_a_run_takes_in_one_experiment_says_nothing_about_another() -> None:
    select = weighted(EQUAL)
    both = Counter(
        (
            select(choice(experiment="one", run_id=str(n))),
            select(choice(experiment="two", run_id=str(n))),
        )
        for n in range(4_000)
    )

    assert all(count == pytest.approx(1_000, abs=110) for count in both.values())
    assert len(both) == 4


def test_one_name_is_fixed() -> None:
    assert fixed("variant")(choice()) == "variant"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (7, "7"),
        (7.0, "7.0"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (("shop", 7), "('shop', 7)"),
        (Plan.FREE, "free"),
        (True, "True"),
        (None, ""),
    ],
)
def test_a_key_that_is_no_text_counts_as_its_text(key: object, text: str) -> None:
    assert bucket(key) == bucket(text)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (b"alice", "the key is b'alice': decode it to text"),
        (object(), "whose text differs in each process: give an id of it"),
        ([object()], "whose text differs in each process: give an id of it"),
        ((n for n in "ab"), "whose text differs in each process: give an id of it"),
        ({"user": 7}.get, "which is a function or a class: call it"),
        (lambda: 7, "which is a function or a class: call it"),
        (Plan, "which is a function or a class: call it"),
    ],
)
def test_a_key_without_a_text_is_refused(key: object, problem: str) -> None:
    with pytest.raises(ExperimentError, match=problem):
        bucket(key)


@pytest.mark.parametrize("key", ["", None])
def test_an_empty_key_is_logged_and_takes_a_variant(
    key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert bucket(key)(choice()) == bucket("")(choice())
    assert caplog.messages[0] == (
        "experiment 'checkout-flow' buckets by an empty key: all such runs take one variant"
    )


# -- errors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weight",
    [0, 0.0, -1, float("nan"), float("inf"), float("-inf"), None, "1", True, 10**400, [1]],
    ids=repr,
)
@pytest.mark.parametrize("make", [weighted, lambda weights: bucket("alice", weights)])
def test_a_weight_that_is_refused(make: Any, weight: Any) -> None:
    with pytest.raises(
        ExperimentError, match=r"the weight of variant 'variant' is .*: give a number above 0"
    ):
        make({"control": 1, "variant": weight})


@pytest.mark.parametrize("weights", [{}, [], "control", 7, ["control", "variant"]])
def test_weights_that_are_none_are_refused(weights: Any) -> None:
    with pytest.raises(ExperimentError, match="has no weights: give a dict"):
        weighted(weights)


def test_weights_whose_sum_is_no_number_are_refused() -> None:
    with pytest.raises(ExperimentError, match="sum of the weights is too large"):
        weighted({"control": 1.7e308, "variant": 1.7e308})


@pytest.mark.parametrize("make", [weighted, lambda weights: bucket("alice", weights)])
def test_weights_that_do_not_match_the_variants_are_refused(make: Any) -> None:
    with pytest.raises(
        ExperimentError,
        match="'checkout-flow' has weights for 'varint'; its variants are 'control', 'variant'",
    ):
        make({"control": 1, "varint": 1})(choice())
    with pytest.raises(ExperimentError, match="has no weight for 'variant': give one above 0"):
        make({"control": 1})(choice())


@pytest.mark.parametrize("name", ["", "it's", 7, None, "a\nb", "x" * 129])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    for make in (
        lambda: fixed(name),
        lambda: weighted({name: 1}),
        lambda: choice("control", name),
        lambda: choice(experiment=name),
    ):
        with pytest.raises(ExperimentError):
            make()


def test_an_experiment_needs_a_variant() -> None:
    with pytest.raises(ExperimentError, match="'checkout-flow' has no variants"):
        Choice("checkout-flow", "r-1", ())


@pytest.mark.parametrize(
    "select",
    [fixed("blue"), lambda choice: "blue", lambda choice: None, lambda choice: ["control"]],
)
def test_a_variant_that_is_unknown_is_refused(select: Any) -> None:
    with pytest.raises(ExperimentError, match=r"no variant .*: select one of 'control', 'variant'"):
        chosen(select, choice())


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(ExperimentError, match="select='control' cannot be called"):
        chosen("control", choice())  # type: ignore[arg-type]


def test_a_function_of_the_user_selects_and_may_raise() -> None:
    assert chosen(lambda choice: choice.variants[-1], choice()) == "variant"
    with pytest.raises(ZeroDivisionError):
        chosen(lambda choice: str(1 / 0), choice())


def test_an_experiment_error_ends_the_tries_of_a_step_and_is_a_value_error() -> None:
    assert issubclass(ExperimentError, DeferError)
    assert issubclass(ExperimentError, NonRetriable)
    assert issubclass(ExperimentError, ValueError)
