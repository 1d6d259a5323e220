"""How the variants of an experiment compare."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_defer.errors import ExperimentError
from celery_defer.scoring import Comparison, Difference, Summary, compare_rows

NEEDS_SCIPY = pytest.mark.skipif(find_spec("scipy") is None, reason="scipy is an extra")


def conversions(**hits_of: tuple[int, int]) -> Comparison:
    """Compare variants by the rate of one score."""
    assigned = {f"{name}-{n}": name for name, (_, runs) in hits_of.items() for n in range(runs)}
    hits = {f"{name}-{n}" for name, (hits, _) in hits_of.items() for n in range(hits)}
    return compare_rows("checkout", assigned, {"bought": {run: run in hits for run in assigned}})


def latencies(
    first: list[float], other: list[float], effects: Mapping[str, float] | None = None
) -> Difference:
    """Compare two variants by the mean of one score."""
    values = {"a": first, "b": other}
    assigned = {f"{name}-{n}": name for name, its in values.items() for n in range(len(its))}
    numbers = {f"{name}-{n}": value for name, its in values.items() for n, value in enumerate(its)}
    [difference] = compare_rows(
        "checkout", assigned, {"latency": numbers}, effects=effects
    ).differences
    return difference


# -- counting -----------------------------------------------------------------------


def test_each_run_is_counted_once() -> None:
    assigned = dict.fromkeys(["scored", "both", "waits", "left out", "lost", "unsure"], "a")
    compared = compare_rows(
        "checkout",
        {**assigned, "other": "b"},
        {"bought": {"scored": True, "both": False, "stranger": True}, "stars": {"both": 4}},
        pending={"waits", "both", "unsure", "stranger"},
        unsampled={"left out", "scored", "unsure"},
    )

    row = compared.variants[0]
    assert (row.assigned, row.scored, row.pending, row.missing, row.not_sampled) == (6, 2, 2, 1, 1)
    assert (row.scores["bought"].n, row.scores["stars"].n) == (2, 1)
    assert compared.variants[1].assigned == compared.variants[1].missing == 1


def test_a_score_that_may_still_come_is_awaited_though_others_are_here() -> None:
    assigned = {f"{name}-{n}": name for name in "ab" for n in range(6)}
    compared = compare_rows(
        "checkout",
        assigned,
        {"length": dict.fromkeys(assigned, 3), "bought": {"a-0": True, "b-0": True, "b-1": True}},
        pending={*assigned} - {"a-5", "b-0"},
        effects={"returned": 0.1},
    )

    first, other = compared.variants
    assert (first.scored, first.pending, first.open, other.open) == (6, 0, 5, 5)
    assert first.awaited == {"bought": 4, "length": 0, "returned": 5}
    assert other.awaited == {"bought": 4, "length": 0, "returned": 5}
    assert (
        "bought: it may still come of runs that have not ended, 4 of 'a' and 4 of 'b', and late "
        "ones may differ from those that are here."
    ) in compared.sentences
    assert compared.as_json()["variants"][0]["awaited"] == first.awaited
    [bought, length, *_] = csv.DictReader(io.StringIO(compared.as_csv()))
    assert (bought["open"], bought["awaited"], length["awaited"]) == ("5", "4", "0")


def test_scores_whose_name_nobody_knows_yet_may_still_come() -> None:
    runs = {str(n): "ab"[n % 2] for n in range(50)}
    compared = compare_rows("x", runs, {"length": dict.fromkeys(runs, 3)}, pending=set(runs))

    assert [row.pending for row in compared.variants] == [0, 0]
    assert (
        "50 runs are scored and not at an end: other scores may still come." in compared.sentences
    )


def test_what_only_pending_runs_lack_is_said_once() -> None:
    compared = compare_rows("x", {"1": "a", "2": "b"}, {"tone": {"1": 1}}, pending={"2"})

    assert not [each for each in compared.sentences if "may still come" in each]
    assert "1 run is pending" in compared.sentences[-1]


@settings(deadline=None)  # the first one may import scipy
@given(
    st.dictionaries(st.integers(0, 30).map(str), st.sampled_from("abc")),
    st.dictionaries(
        st.sampled_from(["x", "y"]),
        st.dictionaries(st.integers(0, 40).map(str), st.booleans() | st.floats(-1e9, 1e9)),
    ),
    st.sets(st.integers(0, 40).map(str)),
    st.sets(st.integers(0, 40).map(str)),
)
def test_the_counts_of_a_variant_add_up(
    assigned: dict[str, str],
    values: dict[str, dict[str, float]],
    pending: set[str],
    unsampled: set[str],
) -> None:
    compared = compare_rows("checkout", assigned, values, pending, unsampled)

    for row in compared.variants:
        assert row.assigned == row.scored + row.pending + row.missing + row.not_sampled
        assert all(summary.n <= row.scored for summary in row.scores.values())
        assert row.pending <= row.open <= row.assigned
        assert all(row.pending <= its <= row.open for its in row.awaited.values())
    assert sum(row.assigned for row in compared.variants) == len(assigned)
    json.dumps(compared.as_json(), allow_nan=False)
    assert len(list(csv.reader(io.StringIO(compared.as_csv())))) == 1 + len(list(compared.rows()))


def test_the_variants_stand_in_their_order_and_the_others_behind_them() -> None:
    assigned = {"1": "b", "2": "a", "3": "d"}

    def names(**options: Any) -> list[str]:
        return [row.variant for row in compare_rows("x", assigned, {}, **options).variants]

    assert names() == ["a", "b", "d"]
    assert names(order=["d", "b"]) == ["d", "b", "a"]
    assert names(baseline="b") == ["b", "a", "d"]
    assert names(baseline="b", order=["d", "a", "b"]) == ["b", "d", "a"]


def test_all_others_are_compared_with_the_first() -> None:
    compared = conversions(a=(1, 10), b=(2, 10), c=(9, 10))

    assert [(d.score, d.variant, d.baseline) for d in compared.differences] == [
        ("bought", "b", "a"),
        ("bought", "c", "a"),
    ]
    assert [d.value for d in compared.differences] == pytest.approx([0.1, 0.8])
    assert (
        "2 differences are shown: by chance alone, one 95% interval in 20"
        in (compared.sentences[-1])
    )


def test_a_baseline_that_is_no_variant_is_refused() -> None:
    with pytest.raises(
        ExperimentError, match="no variant 'c' to compare with: give one of 'a', 'b'"
    ):
        compare_rows("checkout", {"1": "a", "2": "b"}, {}, baseline="c")


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        (["B", "a"], "no variant 'B' to put in order: give some of 'a', 'b'"),
        ([7], "no variant 7 to put in order"),
        ("ab", "order='ab' is no list: give the names of variants"),
        (5, "order=5 is no list"),
    ],
)
def test_an_order_that_is_none_of_the_variants_is_refused(order: Any, problem: str) -> None:
    with pytest.raises(ExperimentError, match=problem):
        compare_rows("checkout", {"1": "a", "2": "b"}, {}, order=order)


@pytest.mark.parametrize("effects", [0.1, "bought", [("bought", 0.1)]])
def test_effects_that_are_no_dict_are_refused(effects: Any) -> None:
    with pytest.raises(ExperimentError, match=r"effects=.* is no dict"):
        compare_rows("checkout", {"1": "a"}, {}, effects=effects)


def test_values_near_the_largest_float_have_no_interval() -> None:
    pytest.importorskip("scipy")
    difference = latencies([1e308, -1e308], [1e308, -0.9e308])

    assert (difference.low, difference.high) == (None, None)
    assert "no 95% interval: the values are too large" in difference.verdict


@pytest.mark.parametrize("effect", [0, -1, math.nan, math.inf, True, "1", None, 10**400])
def test_an_effect_that_is_no_size_is_refused(effect: float) -> None:
    with pytest.raises(ExperimentError, match=r"the effect of score 'bought' is .* above 0"):
        compare_rows("checkout", {"1": "a"}, {}, effects={"bought": effect})


# -- verdicts -----------------------------------------------------------------------


def test_a_clear_difference_of_rates_is_said_with_its_bounds() -> None:
    [difference] = conversions(control=(380, 2_000), variant=(441, 2_010)).differences

    assert difference.is_enough
    assert difference.verdict == (
        "bought: enough data: the rate of 'variant' is above that of 'control' by 0.00442 to "
        "0.0543 (95% interval; 0.0294 seen)."
    )


def test_a_rate_below_the_first_is_said_the_other_way_round() -> None:
    [difference] = conversions(control=(9, 10), variant=(3, 10)).differences

    assert "is below that of 'control' by 0.171 to 0.809 (95% interval; 0.6 seen)" in (
        difference.verdict
    )


def test_too_few_runs_are_said_with_how_many_more() -> None:
    [difference] = conversions(control=(20, 100), variant=(30, 120)).differences

    assert (difference.is_enough, difference.runs_needed) == (False, 1_094)
    assert difference.verdict == (
        "bought: not enough data: the rate of 'variant' minus that of 'control' is 0.05, and the "
        "95% interval, -0.0624 to 0.158, includes 0, so either may be the higher one. An effect of "
        "this size takes about 1,094 runs in each variant (80% power): 994 more for 'control' and "
        "974 more for 'variant'."
    )


def test_without_a_difference_no_number_of_runs_is_said() -> None:
    [difference] = conversions(control=(20, 100), variant=(20, 100)).differences

    assert difference.runs_needed is None
    assert difference.verdict.endswith(
        "Say which effect matters to learn how many runs would show it."
    )


def test_for_an_effect_that_matters_there_may_be_enough_runs_and_no_difference() -> None:
    assigned = {f"{name}-{n}": name for name in "ab" for n in range(2_000)}
    values = {run: run.endswith(("0", "5")) for run in assigned}

    [difference] = compare_rows(
        "checkout", assigned, {"bought": values}, effects={"bought": 0.05}
    ).differences

    assert (difference.is_enough, difference.runs_needed) == (True, 1_094)
    assert difference.verdict == (
        "bought: enough data for an effect of 0.05, and no difference is shown: the 95% interval "
        "of 'b' minus 'a', -0.0248 to 0.0248, includes 0."
    )


def test_for_an_effect_that_matters_there_may_be_too_few_runs() -> None:
    assigned = {f"{name}-{n}": name for name in "ab" for n in range(100)}
    values = {run: run.endswith(("0", "5")) for run in assigned}

    [difference] = compare_rows(
        "checkout", assigned, {"bought": values}, effects={"bought": 0.05}
    ).differences

    assert not difference.is_enough
    assert "An effect of 0.05 takes about 1,094 runs in each variant" in difference.verdict


def test_the_smaller_variant_says_whether_there_are_enough_runs() -> None:
    assigned = {
        f"{name}-{n}": name for name, runs in [("a", 2_000), ("b", 100)] for n in range(runs)
    }
    values = {run: run.endswith(("0", "5")) for run in assigned}

    [difference] = compare_rows(
        "checkout", assigned, {"bought": values}, effects={"bought": 0.05}
    ).differences

    assert not difference.is_enough
    assert difference.verdict.endswith("0 more for 'a' and 994 more for 'b'.")


def test_an_effect_that_no_rate_can_have_is_said_to_be_unknown() -> None:
    assigned = {f"{name}-{n}": name for name in "ab" for n in range(10)}
    values = {run: run.endswith(("1", "2", "3", "4", "5")) for run in assigned}

    [difference] = compare_rows(
        "checkout", assigned, {"bought": values}, effects={"bought": 0.9}
    ).differences

    assert difference.verdict.endswith("How many runs an effect of 0.9 takes is not known.")


@NEEDS_SCIPY
def test_a_clear_difference_of_few_means_is_said_with_care() -> None:
    difference = latencies([3.1, 2.7, 4.0, 3.6, 2.9], [4.4, 3.9, 5.2, 4.1, 4.8, 6.0, 3.5])

    assert difference.verdict == (
        "latency: enough data: the mean of 'b' is above that of 'a' by 0.405 to 2.19 (95% "
        "interval; 1.3 seen). With fewer than 30 runs in a variant this is rough, unless the "
        "values are normal."
    )


@NEEDS_SCIPY
def test_a_clear_difference_of_many_means_is_said_without() -> None:
    random = Random(7)
    slow, fast = ([random.gauss(mean, 90_000) for _ in range(200)] for mean in (9e6, 8e6))

    verdict = latencies(slow, fast).verdict

    assert "the mean of 'b' is below that of 'a' by 98" in verdict
    assert "rough" not in verdict


@NEEDS_SCIPY
def test_a_handful_of_runs_is_never_said_to_be_what_the_effect_needs() -> None:
    difference = latencies([1.0, 2.0], [4.0, 8.0])

    assert (difference.is_enough, difference.runs_needed) == (False, 5)
    assert latencies([1.0, 2.0], [6.0, 8.0]).runs_needed == 3


@pytest.mark.parametrize(
    ("first", "other", "reason"),
    [
        ([1.0], [2.0, 3.0], "it needs two values in each variant"),
        ([1.0, 1.0], [2.0, 2.0], "all values of each variant are the same, so nothing says"),
    ],
)
def test_without_an_interval_the_verdict_says_why(
    first: list[float], other: list[float], reason: str
) -> None:
    difference = latencies(first, other)

    assert (difference.low, difference.high, difference.is_enough) == (None, None, False)
    assert f"latency: no 95% interval: {reason}" in difference.verdict
    assert difference.verdict.endswith("How many runs an effect of this size takes is not known.")


def test_without_scipy_a_comparison_has_all_but_the_intervals_of_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)

    difference = latencies([1.0, 2.0, 3.0], [4.0, 8.0, 9.0], effects={"latency": 1.0})

    assert difference.value == 5.0
    assert difference.verdict == (
        "latency: no 95% interval: that of a mean needs scipy: pip install 'celery-defer[stats]'. "
        "What is seen: the mean of 'b' minus that of 'a' is 5. An effect of 1 takes about 64 runs "
        "in each variant (80% power): 61 more for 'a' and 61 more for 'b'."
    )


# -- sentences ----------------------------------------------------------------------


def test_an_experiment_without_runs_says_so() -> None:
    for order in [], ["control", "variant"]:
        compared = compare_rows("checkout", {}, {}, order=order, baseline="control")
        assert compared.sentences == ("No run has taken part in experiment 'checkout' yet.",)
        assert [row.variant for row in compared.variants] == order


def test_one_variant_has_nothing_to_be_compared_with() -> None:
    compared = compare_rows("checkout", {"1": "a"}, {"bought": {"1": True}})

    assert compared.sentences == ("There is nothing to compare with: 'a' is the only variant.",)


def test_what_is_still_to_come_and_what_is_missing_is_said() -> None:
    compared = compare_rows(
        "checkout",
        {"1": "a", "2": "a", "3": "b", "4": "b"},
        {"bought": {"1": True}},
        pending={"2", "3"},
        effects={"stars": 1},
    )

    assert compared.sentences == (
        "bought: no run of 'b' has this score yet.",
        "stars: no run of 'a' has this score yet.",
        "stars: no run of 'b' has this score yet.",
        "2 runs are pending: scores that come late may differ from those that are here.",
        "1 run is without a score, and none is on its way.",
    )


def test_one_difference_says_nothing_of_chance_and_few_rates_nothing_of_their_form() -> None:
    compared = conversions(control=(9, 10), variant=(3, 10))

    assert compared.sentences == (compared.differences[0].verdict,)
    assert "rough" not in compared.sentences[0]


def test_no_sentence_calls_anything_significant() -> None:
    compared = conversions(a=(1, 10), b=(2, 10), c=(9, 10))

    assert "signific" not in " ".join(compared.sentences).lower()


# -- forms --------------------------------------------------------------------------


def compared() -> Comparison:
    return compare_rows(
        "checkout",
        {"1": "a", "2": "a", "3": "b", "4": "b, or c", "5": "b"},
        {"bought": {"1": True, "2": False, "3": True}, "total": {"3": 12.5}},
        pending={"4"},
    )


def test_as_json_it_is_plain() -> None:
    found = compared().as_json()
    quantiles = ("mean", "min", "q1", "median", "q3", "max")

    assert json.loads(json.dumps(found)) == found
    assert found["experiment"] == "checkout"
    assert found["variants"][1] == {
        "variant": "b",
        "assigned": 2,
        "scored": 1,
        "pending": 0,
        "missing": 1,
        "not_sampled": 0,
        "scores": {
            "bought": {**dict.fromkeys(quantiles, 1.0), "n": 1, "deviation": None, "is_rate": True},
            "total": {
                **dict.fromkeys(quantiles, 12.5),
                "n": 1,
                "deviation": None,
                "is_rate": False,
            },
        },
        "open": 0,
        "awaited": {"bought": 0, "total": 0},
    }
    assert found["differences"][0]["verdict"] in found["sentences"]


def test_what_is_too_large_for_json_is_null() -> None:
    assigned = {"1": "a", "2": "b"}
    found = compare_rows("checkout", assigned, {"x": {"1": 1.7e308, "2": -1.7e308}})

    assert found.differences[0].value == -math.inf
    assert found.as_json()["differences"][0]["value"] is None
    assert '"value": null' in json.dumps(found.as_json(), allow_nan=False)


def test_as_csv_it_has_a_line_for_each_variant_and_score() -> None:
    lines = list(csv.DictReader(io.StringIO(compared().as_csv())))

    assert [(line["variant"], line["score"], line["n"]) for line in lines] == [
        ("a", "bought", "2"),
        ("b", "bought", "1"),
        ("b", "total", "1"),
        ("b, or c", "", ""),
    ]
    assert (lines[0]["assigned"], lines[0]["mean"], lines[0]["difference"]) == ("2", "0.5", "")
    assert (lines[1]["difference"], lines[1]["method"]) == ("0.5", "Newcombe")
    assert lines[3]["pending"] == "1"


def test_the_frame_is_one_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")

    frame = compared().frame()

    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["variant"]) == ["a", "b", "b", "b, or c"]
    assert frame.set_index(["variant", "score"]).loc[("b", "total"), "mean"] == 12.5


def test_the_frame_is_one_of_polars_where_only_that_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    polars = pytest.importorskip("polars")
    monkeypatch.setitem(sys.modules, "pandas", None)

    frame = compared().frame()

    assert isinstance(frame, polars.DataFrame)
    assert frame.columns == compared().as_csv().splitlines()[0].split(",")
    assert frame["mean"].to_list() == [0.5, 1.0, 12.5, None]


def test_a_frame_without_runs_has_its_columns() -> None:
    pytest.importorskip("pandas")

    assert len(compare_rows("checkout", {}, {}).frame().columns) == 24


def test_without_both_the_frame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "polars", None)

    with pytest.raises(ImportError, match="pandas or polars, and there is neither: pip install"):
        compared().frame()


def test_a_summary_is_shared_by_nothing_that_can_change_it() -> None:
    summary = compared().variants[0].scores["bought"]

    with pytest.raises(AttributeError):
        summary.n = 3  # type: ignore[misc]
    assert isinstance(summary, Summary)


# -- size ---------------------------------------------------------------------------

_LARGE = """
import time
from pathlib import Path
from celery_defer.scoring import compare_rows
runs = [f"{n:036d}" for n in range(100_000)]
assigned = {run: "ab"[n % 2] for n, run in enumerate(runs)}
values = {"bought": {r: n % 7 == 0 for n, r in enumerate(runs)},
          "total": {r: n * 0.01 for n, r in enumerate(runs)}}
start = time.process_time()
compared = compare_rows("checkout", assigned, values)
assert compared.variants[0].scored == 50_000
assert compared.differences[1].low or "scipy" in compared.differences[1].verdict
seconds = time.process_time() - start
largest = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(seconds, int(largest) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says it")
def test_a_hundred_thousand_runs_take_less_than_two_seconds_and_200_megabytes() -> None:
    """In a process of its own, whose largest size Linux knows; getrusage adds the parent's size.

    It has the rows, the package with Celery, and scipy.
    """
    done = subprocess.run(
        [sys.executable, "-c", _LARGE], capture_output=True, text=True, check=True
    )
    seconds, megabytes = map(float, done.stdout.split())

    assert seconds < 2
    assert megabytes < 200
