"""The package can be installed beside what a project has already pinned: a resolver says so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import missing

pytestmark = pytest.mark.matrix

ROOT = Path(__file__).parents[1]
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
# What projects pin, and the newest of each.
PINS = [
    [],
    ["celery==5.5.*"],
    ["celery==5.5.*", "kombu==5.5.*", "redis==5.0.*"],
    ["celery==5.5.*", "redis==5.*"],
    ["celery==5.6.*", "kombu==5.6.*", "redis==6.*"],
    ["celery==5.6.*", "kombu==5.6.*", "redis==7.4.*"],
    ["celery==5.7.*", "kombu==5.7.*", "redis==7.*"],
    ["celery==5.7.*", "kombu==5.7.*", "redis==8.*"],
    ["redis==5.*"],
]


def dependencies() -> list[str]:
    (listed,) = re.findall(
        r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S
    )
    return re.findall(r'^ +"(.+?)",', listed, re.M)


def resolved(python: str, *requirements: str) -> dict[str, str]:
    """Return the versions that pip would install; AssertionError if there are none."""
    done = ask("--python-version", python, *requirements)
    assert done.returncode == 0, done.stderr
    items: list[Any] = json.loads(done.stdout)["install"]
    return {item["metadata"]["name"].lower(): item["metadata"]["version"] for item in items}


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
            *("--no-input", "--disable-pip-version-check", "--only-binary=:all:", "--report=-"),
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def _index() -> None:
    if ask("--no-deps", "celery").returncode:
        missing("no package index can be reached, or there is no pip")


def test_the_extra_that_caps_redis_is_not_asked_for() -> None:
    assert "celery>=5.5" in dependencies()
    assert not any("[" in requirement for requirement in dependencies())


@pytest.mark.parametrize("pins", PINS, ids=lambda pins: " ".join(pins) or "nothing")
def test_what_a_project_has_pinned_stays(pins: list[str]) -> None:
    versions = resolved("3.12", *dependencies(), *pins)

    for pin in pins:
        name, _, version = pin.partition("==")
        assert versions[name].startswith(version.removesuffix("*"))


@pytest.mark.parametrize("python", PYTHONS)
def test_it_can_be_installed_on_every_python_that_celery_supports(python: str) -> None:
    assert resolved(python, *dependencies()).keys() >= {"celery", "kombu", "pydantic", "redis"}
