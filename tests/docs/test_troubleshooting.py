"""The page on symptoms quotes what the package says, and its own sections."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/troubleshooting.md").read_text()
_HOLE = "…"
# What others say, Celery and Redis; commands, settings and code.
_OTHERS = re.compile(
    r"OOM command|Hard time limit|Worker exited|maxmemory-policy noeviction"
    r"|celery -A |redis-cli |-Q |with deferring|\w+ = \S+$|\w+\(.*\)$"
)


def _quotations() -> list[str]:
    """The page's code spans that are sentences, not names, commands or code."""
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", prose) + re.findall(r"^> (.+)$", prose, re.M)
    return [span for span in spans if " " in span and not _OTHERS.match(span)]


@pytest.mark.parametrize("quotation", _quotations())
def test_what_is_quoted_is_said_by_the_package(quotation: str) -> None:
    pieces = [p.strip() for p in quotation.split(_HOLE) if p.strip()]

    said = [text for text in _TEXTS if all(piece in text for piece in pieces)]

    assert said


def test_many_words_are_quoted() -> None:
    assert len(_quotations()) > 25


def _texts() -> Iterator[str]:
    """Each text in the package, with a hole for each value, and each docstring in one line."""
    for module in (ROOT / "celery_defer").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%\w", _HOLE, " ".join(node.value.split()))
            elif isinstance(node, ast.JoinedStr):
                values = (v.value if isinstance(v, ast.Constant) else _HOLE for v in node.values)
                yield "".join(map(str, values))


_TEXTS = list(_texts())
