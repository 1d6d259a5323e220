"""The reference has what the package has: no name, field or setting more or less."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from celery.utils.dispatch import Signal

import celery_defer
from celery_defer import signals, testing
from celery_defer.contract import CallOptions
from celery_defer.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
NAMES = (DOCS / "reference" / "names.md").read_text()
SETTINGS = (DOCS / "reference" / "settings.md").read_text()
RECORDS = sorted((DOCS / "explanation" / "decisions").glob("[0-9]*.md"))


def test_every_public_name_is_documented_once() -> None:
    documented = re.findall(r"^\.\. (?:auto|py:)\w+:: celery_defer\.(\w+)(?![\w.])", NAMES, re.M)

    assert sorted(documented) == sorted(celery_defer.__all__)


def test_every_name_for_tests_is_documented_once() -> None:
    page = NAMES + (DOCS / "reference" / "store.md").read_text()
    documented = re.findall(r"^\.\. auto\w+:: celery_defer\.testing\.(\w+)", page, re.M)

    assert sorted(documented) == sorted(testing.__all__)


def test_every_option_of_with_options_is_documented() -> None:
    [signature] = re.findall(r"Deferrable\.with_options\((.*)\)", NAMES)

    assert re.findall(r"(\w+)=", signature) == list(CallOptions.__annotations__)


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `(defer_\w+)` \| `(.+?)` \|", SETTINGS, re.M)

    assert {name: ast.literal_eval(default) for name, default in rows} == Settings.defaults()


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_decision_record_is_short_and_listed(record: Path) -> None:
    assert len(record.read_text().splitlines()) <= 30
    assert record.stem in (record.parent / "index.md").read_text().splitlines()


def test_every_signal_is_documented_with_its_arguments() -> None:
    page = (DOCS / "reference" / "signals.md").read_text()
    table = page.partition("| signal | keyword arguments |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.M)
    sent = {n: s for n in signals.__all__ if isinstance(s := getattr(signals, n), Signal)}

    documented = {name: set(re.findall(r"`(\w+)`", row)) for name, row in rows}
    assert documented == {name: signal.providing_args for name, signal in sent.items()}
