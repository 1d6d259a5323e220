"""What `defer scores` and `defer compare` print of a store in which scores are recorded."""

from __future__ import annotations

import csv
import json
import re

import pytest
from celery import Celery

from celery_defer.ids import RunId
from celery_defer.store import Fact, MemoryStore, RunState, ScoreRow
from tests.views.cli.conftest import Cli
from tests.views.cli.test_lists import held, steady

KEEP = 600.0
VARIANTS = ("control", "bold")
STRANGER = RunId("stranger")


@pytest.fixture
def store(app: Celery) -> MemoryStore:
    """Ten replies in an experiment, of which eight are scored, and a score of a stranger."""
    app._celery_defer.store = store = MemoryStore()
    for n in range(10):
        add_reply(store, n, VARIANTS[n % 2])
    store.score([ScoreRow(STRANGER, "tone", 1, at=1.0)], [""], "", KEEP)
    return store


def add_reply(store: MemoryStore, n: int, variant: str) -> None:
    run = RunId(f"reply-{n}")
    store.assign(run, "prompt", variant, KEEP, KEEP)
    carried = (("prompt", variant, run),)
    state = RunState.RUNNING if n == 8 else RunState.SUCCEEDED
    about = b'{"t": "shop.reply"}'
    store.note([Fact(run, "shop.reply", state, KEEP, about, experiments=carried)])
    if n < 8:
        rows = [
            ScoreRow(run, "thumb", n % 4 > 1, source="customer"),
            ScoreRow(run, "tone", n / 10, step="draft", comment="warm"),
        ]
        store.score(
            rows, ["", ""], "shop.reply", KEEP, carried={"prompt": (variant, run)}, is_known=True
        )


pytestmark = pytest.mark.usefixtures("store")


def runs_of(output: str) -> list[str]:
    return list(dict.fromkeys(row["run"] for row in json.loads(output)["rows"]))


# -- scores -------------------------------------------------------------------------


def test_the_scores_of_a_run(cli: Cli) -> None:
    result = cli("scores", "reply-3")

    assert result.exit_code == 0
    assert now(result.output) == held(
        """
        run  score  value  step  source  written  comment
        reply-3  thumb  true  -  customer  …
        reply-3  tone  0.3  draft  -  …  warm
        """
    )


def now(output: str) -> str:
    return steady(output.replace("now", "1 s ago"))


def test_the_scores_of_all_runs_come_in_pages_the_last_scored_run_first(cli: Cli) -> None:
    first = cli("scores", "--limit", "3").output
    cursor = re.findall(r"^there are more: --cursor (.+)$", first, re.M)[0]

    rest = runs_of(cli("scores", "--cursor", cursor, "--json").output)
    assert [f"reply-{n}" for n in (5, 4, 3, 2, 1, 0)] == rest
    assert "reply-7  thumb" in steady(first)


@pytest.mark.parametrize(
    ("filters", "runs"),
    [
        (["--task", "shop.reply", "--limit", "1"], ["reply-7"]),
        (["--task", "shop.other"], []),
        (["--orphans"], [STRANGER]),
        (["--experiment", "prompt", "--limit", "100"], [f"reply-{n}" for n in range(8)]),
        (["--since", "2100-01-01"], []),
        (["reply-3", "--since", "2100-01-01"], []),
    ],
)
def test_scores_are_filtered(cli: Cli, filters: list[str], runs: list[str]) -> None:
    assert sorted(runs_of(cli("scores", *filters, "--json").output)) == sorted(runs)


def test_the_scores_of_an_experiment_come_in_pages(cli: Cli) -> None:
    runs, cursor = [], "0"
    while cursor:
        page = cli("scores", "--experiment", "prompt", "--limit", "3", "--cursor", cursor, "--json")
        runs += runs_of(page.output)
        cursor = json.loads(page.output)["next"]

    assert sorted(runs) == [f"reply-{n}" for n in range(8)]


def test_earlier_scores_are_history(cli: Cli, store: MemoryStore) -> None:
    run = RunId("reply-3")
    store.score([ScoreRow(run, "thumb", False)], [""], "shop.reply", KEEP)

    def thumbs(*options: str) -> list[bool]:
        rows = json.loads(cli("scores", run, *options, "--json").output)["rows"]
        return [row["value"] for row in rows if row["name"] == "thumb"]

    assert thumbs() == [False]
    assert thumbs("--history") == [True, False]


def test_times_in_json_are_in_utc(cli: Cli) -> None:
    [row, *_] = json.loads(cli("scores", "reply-3", "--json").output)["rows"]

    assert row["at"].endswith("Z")
    assert (row["value"], row["source"], row["step"]) == (True, "customer", None)


@pytest.mark.parametrize(
    ("options", "status", "problem"),
    [
        (["reply-3", "--orphans"], 2, "give RUN, --task, --experiment or --orphans, and only one"),
        (["--cursor", "page two"], 2, "'page two' is no cursor"),
        (["--experiment", "prompt", "--cursor", "page"], 2, "'page' is no cursor"),
        (["--since", "once"], 2, "'once' is no time"),
        (["--experiment", "typo"], 1, "No run has taken part in experiment 'typo' yet: `compare`"),
        (["typo"], 1, "nothing is known of run typo: "),
    ],
)
def test_what_is_wrong_with_scores_is_said_in_one_line(
    cli: Cli, options: list[str], status: int, problem: str
) -> None:
    result = cli("scores", *options)

    assert result.exit_code == status
    assert problem in result.output
    assert result.output.count("\n") == 1


def test_no_scores(cli: Cli) -> None:
    assert cli("scores", "reply-9").output == "no scores\n"
    assert cli("scores", "--task", "unknown").output == "no scores\n"


def test_show_has_the_scores_of_the_run(cli: Cli) -> None:
    parts = now(cli("show", "reply-3").output).split("\n\n")

    assert parts[-1] == held(
        """
        scores
        score  value  step  source  written  comment
        thumb  true  -  customer  …
        tone  0.3  draft  -  …  warm
        """
    )


def test_show_has_the_variants_of_the_run(cli: Cli, store: MemoryStore) -> None:
    run = RunId("varied")
    about = b'{"t": "shop.reply", "v": {"prompt": ["bold", "varied"]}}'
    store.note([Fact(run, "shop.reply", RunState.SUCCEEDED, KEEP, about)])

    assert "variants  prompt=bold" in steady(cli("show", run).output)


# -- compare ------------------------------------------------------------------------


def test_compare(cli: Cli) -> None:
    result = cli("compare", "prompt", "--baseline", "control")

    assert result.exit_code == 0
    tables, _, sentences = result.output.rpartition("\n\n")
    assert steady(tables + "\n") == held(
        """
        experiment prompt
        variant  assigned  scored  pending  missing  not sampled
        control  5  4  1  0  0
        bold  5  4  0  1  0

        thumb
        variant  awaited  n  mean  deviation  min  q1  median  q3  max  difference  95% interval
        control  1  4  0.5  0.577  0  0  0.5  1  1  -  -
        bold  0  4  0.5  0.577  0  0  0.5  1  1  0  -0.495 to 0.495

        tone
        variant  awaited  n  mean  deviation  min  q1  median  q3  max  difference  95% interval
        control  1  4  0.3  0.258  0  0.15  0.3  0.45  0.6  -  -
        bold  0  4  0.4  0.258  0.1  0.25  0.4  0.55  0.7  0.1  -0.347 to 0.547
        """
    )
    assert "thumb: not enough data" in sentences
    assert "1 run is pending" in sentences
    assert "1 run is without a score" in sentences


def test_an_effect_that_matters(cli: Cli) -> None:
    output = cli("compare", "prompt", "--effect", "tone=0.5", "--effect", "a=b=1").output

    assert "An effect of 0.5 takes about" in output
    assert "a=b: no run of 'bold' has this score yet." in output


def test_compare_as_json_and_as_csv(cli: Cli) -> None:
    printed = json.loads(cli("compare", "prompt", "--json").output)
    rows = list(csv.DictReader(cli("compare", "prompt", "--csv").output.splitlines()))

    assert [row["variant"] for row in printed["variants"]] == ["bold", "control"]
    assert printed["differences"][0]["baseline"] == "bold"
    assert [(row["variant"], row["score"]) for row in rows] == [
        ("bold", "thumb"), ("bold", "tone"), ("control", "thumb"), ("control", "tone"),
    ]  # fmt: skip


def test_runs_that_took_their_variant_earlier_are_left_out(cli: Cli) -> None:
    result = cli("compare", "prompt", "--since", "2100-01-01")

    assert result.exit_code == 0
    assert "No run has taken part in experiment 'prompt' yet." in result.output


def test_without_an_id_the_experiments_are_listed(cli: Cli, store: MemoryStore) -> None:
    store.assign(RunId("new"), "new\x1b[2J", "a", KEEP, KEEP)

    assert cli("compare").output == "new [2J\nprompt\n"
    assert json.loads(cli("compare", "--json").output) == {
        "rows": [{"experiment": "new\x1b[2J"}, {"experiment": "prompt"}],
        "next": None,
    }


def test_there_are_no_experiments(cli: Cli, app: Celery) -> None:
    app._celery_defer.store = MemoryStore()

    assert cli("compare").output == "no experiments\n"


@pytest.mark.parametrize(
    ("options", "status", "problem"),
    [
        (["lost"], 1, "No run has taken part in experiment 'lost' yet: `compare` without an id"),
        (
            ["prompt", "--baseline", "x"],
            1,
            "has no variant 'x' to compare with: give one of",
        ),
        (["prompt", "--effect", "tone"], 2, "'tone' is no effect: give score=number"),
        (["prompt", "--effect", "tone=0"], 1, "give a number above 0"),
        (["prompt", "--csv", "--json"], 2, "--csv is for one EXPERIMENT, and not together with"),
        (["--csv"], 2, "--csv is for one EXPERIMENT"),
        ([" "], 2, "it is empty: give an id or a name"),
    ],
)
def test_what_is_wrong_with_a_comparison_is_said_in_one_line(
    cli: Cli, options: list[str], status: int, problem: str
) -> None:
    result = cli("compare", *options)

    assert result.exit_code == status
    assert problem in result.output
    assert result.output.count("\n") == 1
