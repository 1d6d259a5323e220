"""What a command prints: with colours on a terminal, as plain text elsewhere, or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.util import find_spec
from shutil import get_terminal_size
from typing import Any, TypeVar

import click
from pydantic_core import to_json

from celery_defer.store import ScoreRow
from celery_defer.views import words
from celery_defer.views.cli.layout import Layout
from celery_defer.views.cli.table import Fields, Table
from celery_defer.views.rows import Page
from celery_defer.views.times import moment

T = TypeVar("T")

_SHORT = 60

#: How rich shows the state of a run.
STYLES = {
    "buffered": "cyan",
    "published": "cyan",
    "running": "blue",
    "waiting": "yellow",
    "held": "yellow",
    "succeeded": "green",
    "failed": "bold red",
    "skipped": "magenta",
    "dropped": "dim",
    "aborted": "magenta",
    "replaced": "magenta",
    "batched": "green",
    "quarantined": "bold red",
    "unknown": "dim",
    "error": "bold red",
    "warning": "yellow",
}


@dataclass(frozen=True, slots=True)
class Screen:
    """Where one command prints, and in which form."""

    as_json: bool = False
    is_rich: bool = False

    @classmethod
    def of(cls, context: Any, *, as_json: bool) -> Screen:
        """Return the screen of a command: with rich on a terminal, if that is installed."""
        is_rich = not as_json and not context.obj.no_color and _is_terminal() and has_rich()
        return cls(as_json, is_rich)

    @property
    def width(self) -> int | None:
        """How long a text in a line may be: short on a terminal, as long as it is elsewhere."""
        return _SHORT if _is_terminal() else None

    def line(self, text: str = "") -> None:
        """Print a line, but not among JSON."""
        if not self.as_json:
            click.echo(words.line(text))

    def json(self, value: Any) -> None:
        """Print rows as JSON."""
        click.echo(to_json(plain(value), indent=2, fallback=str, inf_nan_mode="strings"))

    def page(self, page: Page[T], table: Callable[[Sequence[T]], Table], nothing: str) -> None:
        """Print one page of a list, and how to get the next; *nothing* if it is empty."""
        if self.as_json:
            self.json(page)
        elif not page.rows:
            self.line(nothing)
        else:
            self.show(table(page.rows))
        if page.next:
            self.line(f"there are more: --cursor {page.next}")

    def title(self, text: str) -> None:
        """Print the title of what follows."""
        click.echo()
        click.secho(text, bold=True) if self.is_rich else click.echo(text)

    def show(self, block: Table | Fields) -> None:
        """Print a table, or fields."""
        if self.is_rich:
            from rich.console import Console  # noqa: PLC0415

            # A line that is too long for a terminal is divided by that, which copies it as one.
            is_table = isinstance(block, Table)
            Console().print(rendered(block), soft_wrap=is_table, highlight=False)
        else:
            click.echo("\n".join(_plain_lines(block)))

    def lines(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Print lines, each given as its start, a word with a style of its own, and its end."""
        if not self.is_rich:
            click.echo("\n".join(words.line("".join(row)).rstrip() for row in rows))
            return
        from rich.console import Console  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        console = Console()
        for start, word, end in rows:
            cells = words.line(start), (word, STYLES.get(word, "")), words.line(end)
            console.print(Text.assemble(*cells), soft_wrap=True, highlight=False)


def plain(value: Any) -> Any:
    """Return rows as dictionaries, with what they compute of their fields."""
    if isinstance(value, ScoreRow):
        value = {**asdict(value), "at": moment(value.at)}
    if is_dataclass(value) and not isinstance(value, type):
        row = {each.name: plain(getattr(value, each.name)) for each in fields(value)}
        computed = {
            name: getattr(value, name) for name in ("latency", "duration") if hasattr(value, name)
        }
        return {**row, **computed}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value


def rendered(block: Table | Fields) -> Any:
    """Return a table or fields as rich draws them."""
    if isinstance(block, Table):
        return _coloured(block)
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = RichTable(box=None, show_header=False, pad_edge=False)
    drawn.add_column()
    drawn.add_column(overflow="fold")
    for name, value in block.clean():
        drawn.add_row(name, Text(value, STYLES.get(value, "")))
    return drawn


def has_rich() -> bool:
    """Whether the package rich is installed."""
    return find_spec("rich") is not None


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _coloured(table: Table) -> Any:
    from rich.text import Text  # noqa: PLC0415

    layout = Layout.of(table, get_terminal_size().columns)
    heads = [Text("  ".join(line).rstrip(), "bold") for line in layout.lines(table.columns)]
    lines = [
        Text.assemble(*((f"{cell}  ", STYLES.get(cell.rstrip(), "")) for cell in line))
        for row in table.clean()
        for line in layout.lines(row)
    ]
    for line in lines:
        line.rstrip()
    return Text("\n").join([*heads, *lines])


def _plain_lines(block: Table | Fields) -> Iterable[str]:
    if isinstance(block, Fields) or not _is_terminal():
        return block.lines()
    layout = Layout.of(block, get_terminal_size().columns)
    rows = [block.columns, *block.clean()]
    return ["  ".join(line).rstrip() for row in rows for line in layout.lines(row)]
