"""Where a command prints, and in which form."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from celery_defer.views.cli.screen import Screen
from celery_defer.views.cli.table import Fields, Table

COLOURS = SimpleNamespace(obj=SimpleNamespace(no_color=False))
TABLE = Table(("run", "state"), [("one", "failed"), ("two\x1b[2J", "running")])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let what is printed from here on go to a terminal; pytest's own is back after the test."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("sys.stdout", shown := Terminal())
    return shown


def test_a_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    screen = Screen.of(COLOURS, as_json=False)
    screen.show(TABLE)
    screen.show(Fields([("run", "one"), ("reason", "")]))
    screen.lines([("├─ one  ", "failed", "  why\x1b[2J")])

    assert "\x1b[1;31mfailed" in shown.getvalue()
    assert "\x1b[2J" not in shown.getvalue()
    assert "reason" not in shown.getvalue()


def test_without_rich_a_terminal_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich", None)

    screen = Screen.of(COLOURS, as_json=False)
    screen.show(TABLE)

    assert shown.getvalue() == "run      state\none      failed\ntwo [2J  running\n"


def test_colours_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    plain = SimpleNamespace(obj=SimpleNamespace(no_color=True))

    assert not Screen.of(plain, as_json=False).is_rich
    assert not Screen.of(COLOURS, as_json=True).is_rich


def test_what_is_no_terminal_gets_plain_text() -> None:
    assert not Screen.of(COLOURS, as_json=False).is_rich
