"""A command that cannot do its work says so in one line, and what to do."""

from __future__ import annotations

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
        assert "This needs a store: set defer_store_url = 'redis://…'." in result.output


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
        assert "this app has no Defer(app)" in result.output


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
