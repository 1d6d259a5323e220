"""A command that cannot do its work says so in one line, and what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from celery import Celery

from celery_defer import Defer
from celery_defer.store import MemoryStore
from tests.views.cli.conftest import Cli

COMMANDS: Sequence[Sequence[str]] = [
    ("tree", "run"),
    ("show", "run"),
    ("runs",),
    ("waiting",),
    ("outbox",),
    ("outbox", "retry", "record"),
    ("quarantine",),
    ("quarantine", "retry", "record"),
    ("quarantine", "drop", "record", "--yes"),
    ("send-event", "event"),
    ("wake", "run"),
    ("abort", "parent", "id", "--yes"),
    ("cancel", "run", "--yes"),
    ("restart", "run", "--yes"),
    ("watch", "--once"),
    ("scores",),
    ("scores", "run"),
    ("scores", "--experiment", "prompt"),
    ("compare",),
    ("compare", "prompt"),
    ("limits",),
    ("limits", "set", "task", "throttle", "--limit", "3"),
    ("limits", "unset", "task", "throttle"),
    ("limits", "pause", "task"),
    ("limits", "resume", "task"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
class TestWithoutRedis:
    @pytest.fixture
    def app(self) -> Celery:
        app = Celery("unit", broker="memory://", backend="cache+memory://", set_as_current=False)
        Defer(app)
        return app

    def test_it_says_what_to_set(self, cli: Cli, command: Sequence[str]) -> None:
        result = cli(*command)

        assert result.exit_code == 2
        assert result.output == "Error: This needs a store: set defer_store_url = 'redis://…'.\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
class TestWithRedisAway:
    @pytest.fixture
    def app(self) -> Celery:
        url = "redis://:secret@127.0.0.1:1/0"
        app = Celery("unit", broker="memory://", backend="cache+memory://", set_as_current=False)
        app.conf.defer_store_url = url
        Defer(app)
        return app

    def test_it_says_so_in_a_line(self, cli: Cli, command: Sequence[str]) -> None:
        result = cli(*command)

        assert result.exit_code == 3
        assert result.output.startswith("Error: ")
        assert result.output.count("\n") == 1
        assert "ConnectionError" in result.output
        assert "secret" not in result.output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
class TestWithoutDefer:
    @pytest.fixture
    def app(self) -> Celery:
        return Celery("plain", broker="memory://", set_as_current=False)

    def test_it_says_so(self, cli: Cli, command: Sequence[str]) -> None:
        result = cli(*command)

        assert result.exit_code == 2
        assert result.output.startswith("Error: this app has no Defer(app): add it ")
        assert "with -A" in result.output
        assert result.output.count("\n") == 1


class TestACheckWithRedisAway:
    @pytest.fixture
    def app(self) -> Celery:
        app = Celery("unit", broker="memory://", backend="cache+memory://", set_as_current=False)
        app.conf.defer_store_url = "redis://:secret@127.0.0.1:1/0"
        Defer(app)
        return app

    @pytest.mark.parametrize("options", [(), ("--live",), ("--fail-level", "warning")])
    def test_it_knows_nothing(self, cli: Cli, options: Sequence[str]) -> None:
        result = cli("check", *options)

        assert result.exit_code == 3
        assert "error: store: it does not reply: ConnectionError" in result.output
        assert "secret" not in result.output

    def test_a_script_reads_which_problem_that_is(self, cli: Cli) -> None:
        result = cli("check", "--json")

        problems = json.loads(result.output)["problems"]
        assert [each["is_away"] for each in problems if each["subject"] == "store"] == [True]


@pytest.mark.parametrize("command", ["tree run", "show run", "runs", "waiting", "watch --once"])
def test_without_records_it_says_what_to_set(cli: Cli, app: Celery, command: str) -> None:
    app.conf.defer_record = False
    app._celery_defer.store = MemoryStore()

    result = cli(*command.split())

    assert result.exit_code == 2
    assert result.output == (
        "Error: no runs are recorded, as defer_record = False: set defer_record = True, and "
        "restart the workers\n"
    )


WRONG: Sequence[tuple[Sequence[str], str]] = [
    (["runs", "--stat", "failed"], "celery defer runs --help"),
    (["runs", "--state", "lost"], "celery defer runs --help"),
    (["runs", "--cursor", "zzz"], "'zzz' is no cursor: give the `next` of a page"),
    (["runs", "--cursor", ""], "'' is no cursor: give the `next` of a page"),
    (["tree"], "Missing argument 'RUN'; see `celery defer tree --help`"),
    (["tree", ""], "it is empty: give an id or a name"),
    (["show", "\udcff"], "it is not UTF-8"),
    (["wake", " "], "it is empty: give an id or a name"),
    (["abort", "run", ""], "it is empty: give an id or a name"),
    (["trees", "run"], "celery defer --help"),
    (["outbox", "rety"], "celery defer outbox --help"),
    (["outbox", "retry", ""], "it is empty: give an id or a name"),
    (["send-event", ""], "it is empty: give an id or a name"),
    (["send-event", "paid", "--id", ""], "id"),
    (["send-event", "paid", "{"], "Give JSON"),
    (["check", "--timeout", "-1"], "'-1' is no number of seconds from 0.1 on: give 2, say"),
    (["check", "--live", "--timeout", "nan"], "'nan' is no number of seconds"),
    (["watch", "--interval", "soon"], "'soon' is no number of seconds"),
    (["runs", "--cursor", "nan-1-x"], "'nan-1-x' is no cursor"),
    (["runs", "--cursor", "inf-1-x"], "'inf-1-x' is no cursor"),
    (["waiting", "--cursor", f"1-{10**30}-x"], "is no cursor"),
    (["cancel", "run"], "There is no terminal to ask on: give --yes."),
]


@pytest.mark.parametrize(("command", "text"), WRONG, ids=lambda each: "".join(each)[:30])
def test_a_wrong_command_line_is_told_in_a_line(
    cli: Cli, app: Celery, command: Sequence[str], text: str
) -> None:
    app._celery_defer.store = MemoryStore()

    result = cli(*command)

    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert text in result.output
    assert result.output.count("\n") == 1


def test_the_command_alone_prints_its_help(cli: Cli) -> None:
    assert "Deferred runs: what became of them" in cli().output


@pytest.mark.parametrize("group", [[], ["outbox"], ["quarantine"], ["limits"]])
def test_the_help_has_whole_sentences(cli: Cli, group: Sequence[str]) -> None:
    printed = cli(*group, "--help").output

    assert "\nCommands:\n" in printed
    assert "..." not in printed.partition("\nCommands:\n")[2]


def test_a_live_check_names_a_bad_setting(cli: Cli, app: Celery) -> None:
    app.conf.defer_gracee = 3

    result = cli("check", "--live")

    assert result.exit_code == 1
    assert "error: settings: setting defer_gracee does not exist" in result.output


class TestWithTheBrokerAway:
    @pytest.fixture
    def app(self) -> Celery:
        app = Celery("unit", broker="redis://127.0.0.1:1/0", set_as_current=False)
        Defer(app).store = MemoryStore()
        return app

    def test_a_live_check_says_so_in_a_line(self, cli: Cli) -> None:
        result = cli("check", "--live")

        assert result.exit_code == 3
        assert result.output.startswith("Error: ")
        assert result.output.count("\n") == 1


def test_each_command_is_asked() -> None:
    from celery_defer.views.cli import defer  # noqa: PLC0415

    paths = set()
    for name, command in defer.commands.items():
        paths |= {(name, below) for below in getattr(command, "commands", ())} | {(name,)}

    assert {tuple(part for part in each if (part,) in paths or (each[0], part) in paths)
            for each in COMMANDS} >= paths - {("check",)}  # fmt: skip
