"""The code blocks of a Markdown page, and what each of them is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "blocks"]

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<info>[^`]*)$")
# `# shop.py` names a file; `# shop.py (continued)` adds to it.
_FILE = re.compile(r"^# (?P<path>[\w./-]+\.(?:py|toml|ini))(?P<more> \(continued\))?$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where it stands, what its fence says, its text."""

    page: str
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether the block is more than a chart, or the text of a Sphinx directive."""
        return self.info != "text" and not self.info.startswith("{")

    @property
    def file(self) -> str | None:
        """The file that the block is, by its first line."""
        match = _FILE.match(self.text.partition("\n")[0])
        return match["path"] if match else None

    @property
    def continues(self) -> bool:
        """Whether the block goes on with a file that an earlier block began."""
        match = _FILE.match(self.text.partition("\n")[0])
        return bool(match and match["more"])


def blocks(root: Path, page: str) -> list[Block]:
    """Return the blocks of a page in order; a block in a directive belongs to the directive."""
    return list(_blocks(page, (root / page).read_text().splitlines()))


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    numbered = enumerate(lines, start=1)
    for number, line in numbered:
        if not (opened := _FENCE.match(line)):
            continue
        body = []
        for _, inner in numbered:
            if inner.strip() == opened["ticks"]:
                break
            body.append(inner.removeprefix(opened["indent"]))
        else:
            raise ValueError(f"{page}:{number}: the block is never closed")
        yield Block(page, number, opened["info"].strip(), "".join(f"{x}\n" for x in body))
