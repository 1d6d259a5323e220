"""README, CONTRIBUTING, CHANGELOG and docs: every block does what its page says."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

from tests.docs.blocks import blocks
from tests.docs.runner import Page, starts_server
from tests.support.redis import own_database

ROOT = Path(__file__).parents[2]
DOCS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS]
# The modules and programs that a page needs beside Celery's own.
NEEDS = {
    "docs/how-to/django.md": ["django", "curl"],
    "docs/how-to/fastapi.md": ["fastapi", "httpx"],
    "docs/how-to/flask.md": ["flask", "curl"],
    "docs/how-to/flower.md": ["flower"],
    "docs/how-to/opentelemetry.md": ["opentelemetry.sdk"],
    "docs/how-to/logging.md": ["structlog"],
    "docs/how-to/monitoring.md": ["prometheus_client", "curl"],
    "docs/how-to/sqlalchemy.md": ["sqlalchemy"],
    "docs/how-to/types.md": ["mypy", "pyright"],
}
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


def _with_blocks() -> list[object]:
    """The pages that have something to run, marked by what running it takes."""
    found = {page: [b for b in blocks(ROOT, page) if b.runs] for page in PAGES}
    return [
        pytest.param(page, marks=[pytest.mark.worker] if any(map(starts_server, its)) else [])
        for page, its in found.items()
        if its
    ]


@pytest.mark.parametrize("name", _with_blocks())
def test_every_block_of_a_page_runs(name: str, tmp_path: Path) -> None:
    _need(name)
    folder = tmp_path / "page"
    folder.mkdir()

    with own_database() as database:
        page = Page(folder, database)
        try:
            for block in blocks(ROOT, name):
                page.run(block)
        finally:
            page.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_to_a_file(name: str) -> None:
    folder = (ROOT / name).parent
    links = _LINK.findall((ROOT / name).read_text())

    assert [link for link in links if not (folder / link).exists()] == []


def _need(page: str) -> None:
    missing = [name for name in NEEDS.get(page, []) if not (find_spec(name) or which(name))]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{page} needs {', '.join(missing)}; make check installs what is Python")
    assert not missing, f"{page} needs {', '.join(missing)}"
