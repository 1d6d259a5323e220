"""The page on the architecture names the floors that are checked, and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/architecture.md").read_text()
LAYERS = re.search(r"\nlayers = \[\n(.*?)\n\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)


def floors() -> list[set[str]]:
    """The names on each floor, from the ground up, as `make check-floors` checks them."""
    assert LAYERS is not None
    lines = reversed(LAYERS[1].splitlines())
    return [set(re.findall(r"celery_defer\.(\w+)", line)) for line in lines]


def test_the_page_has_each_room_on_its_floor() -> None:
    rooms = re.findall(r"^\| (\d) \| `(\w+)` \|", PAGE, re.MULTILINE)
    checked = [(str(floor), name) for floor, its in enumerate(floors(), start=1) for name in its]

    assert sorted(rooms) == sorted(room for room in checked if room[0] != "1")


def test_the_page_has_each_file_of_the_ground() -> None:
    files = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", PAGE, re.MULTILINE)

    assert set(files) >= floors()[0]


def test_the_picture_has_each_room() -> None:
    picture = (ROOT / "docs/pictures/house.svg").read_text()

    assert [name for its in floors() for name in its if name not in picture] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))))
def test_the_page_names_tests_that_exist(path: str) -> None:
    assert (ROOT / path).exists()
