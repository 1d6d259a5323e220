"""The page about the command line has each command with its arguments and options, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from celery_defer.views.cli import defer

PAGE = (Path(__file__).parents[2] / "docs/reference/command-line.md").read_text()
# On every command, and described once.
_COMMON = frozenset({"--json", "--help"})


def commands(group: click.Group = defer, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")


COMMANDS = dict(commands())


def test_each_command_has_a_section() -> None:
    titles = re.findall(r"^## `defer (.+)`$", PAGE, re.M)

    assert [re.sub(r" [A-Z\[].*", "", title) for title in titles] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_has_the_arguments_and_options_of_its_command(name: str) -> None:
    assert described(name, COMMANDS[name]) in PAGE


def described(name: str, command: click.Command) -> str:
    """What the page says of a command, in Markdown."""
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    names = [each.make_metavar(click.Context(command)) for each in arguments]
    lines = [f"## `{' '.join(['defer', name, *names])}`", "", *_wrapped(command.help or "")]
    options = [each for each in command.params if isinstance(each, click.Option)]
    rows = [_row(each) for each in options if each.opts[0] not in _COMMON]
    if rows:
        lines += ["", "| option | what it does |", "| --- | --- |", *rows]
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    return [" ".join(text.split())]


def _row(option: click.Option) -> str:
    value = "" if option.is_flag else f" {_metavar(option)}"
    default = f" Default: {option.default}." if option.show_default else ""
    return f"| `{option.opts[0]}{value}` | {option.help}{default} |"


def _metavar(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return " or ".join(option.type.choices)
    return option.metavar or option.type.name.upper().replace(" RANGE", "")


if __name__ == "__main__":
    for each in COMMANDS.items():
        print(described(*each))
