"""The runner of the pages: a block that does not do what it shows is told of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks
from tests.docs.runner import BlockError, Page


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    folder = tmp_path / "page"
    folder.mkdir()
    page = Page(folder, "redis://127.0.0.1:1/7")
    yield page
    page.close()


def _block(info: str, text: str) -> Block:
    return Block("page.md", 1, info, text)


def test_blocks_are_found_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "a\n\n```python\nx = 1\n```\n\n- b\n\n  ```text\n  c\n  ```\n"
    )

    assert blocks(tmp_path, "page.md") == [
        Block("page.md", 3, "python", "x = 1\n"),
        Block("page.md", 9, "text", "c\n"),
    ]


def test_a_block_that_is_never_closed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```python\nx = 1\n")

    with pytest.raises(ValueError, match=r"page\.md:1"):
        blocks(tmp_path, "page.md")


def test_blocks_of_a_page_share_their_names(page: Page) -> None:
    page.run(_block("python", "x = 20\n"))
    page.run(_block("pycon", ">>> x += 1\n>>> x\n21\n"))
    page.run(_block("python", "assert x == 21\n"))


def test_a_file_can_be_imported_and_continued(page: Page) -> None:
    page.run(_block("python", "# pack/one.py\nx = 1\n"))
    page.run(_block("pycon", ">>> from pack.one import x\n"))
    page.run(_block("python", "# pack/one.py (continued)\ny = x + 1\n"))
    page.run(_block("pycon", ">>> from pack.one import y\n>>> y\n2\n"))


def test_a_page_has_its_own_redis_and_ports(page: Page) -> None:
    page.run(_block("python", "url, port = 'redis://localhost:6379/0', 'http://localhost:8000/'\n"))

    page.run(_block("python", "assert url == 'redis://127.0.0.1:1/7'\n"))
    page.run(_block("python", "assert not port.endswith(':8' + '000/')\n"))


def test_output_of_commands_is_compared_up_to_what_varies(page: Page) -> None:
    page.run(_block("console", "$ echo one two three\none ... three\n$ pip install celery\n"))


@pytest.mark.parametrize(
    ("info", "text"),
    [
        pytest.param("python", "1 / 0\n", id="python that raises"),
        pytest.param("python", "# gone.py (continued)\nx = 1\n", id="no file to continue"),
        pytest.param("pycon", ">>> 1 + 1\n3\n", id="another value"),
        pytest.param("pycon", "1 + 1\n", id="no example"),
        pytest.param("pycon", ">>> import os; os._exit(1)\n", id="a shell that dies"),
        pytest.param("console", "$ echo one\ntwo\n", id="another output"),
        pytest.param("console", "$ echo one\n", id="an output not shown"),
        pytest.param("console", "$ no-such-command\n", id="no such command"),
        pytest.param("console", "echo one\n", id="no prompt"),
        pytest.param("console", "$ celery -A gone worker\n", id="a server that does not start"),
        pytest.param("ruby", "puts 1\n", id="another language"),
        pytest.param("", "x = 1\n", id="no language"),
    ],
)
def test_a_block_that_fails_is_told_of(page: Page, info: str, text: str) -> None:
    with pytest.raises(BlockError, match=r"page\.md:1"):
        page.run(_block(info, text))
