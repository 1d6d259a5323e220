"""The page on capacity has the bytes that are measured."""

from __future__ import annotations

import re

import pytest

from tests.bench.memory.measures import measured, scored, staged
from tests.support.processes import ROOT

_ROW = re.compile(r"^\| ([^|]+) \| ([\d,]+) \| ([\d,]+) \| [^|\d][^|]*\|$", re.MULTILINE)
_TIMES = 100
_STAGED = 200  # from 128 on, Redis keeps an index in another form

_COLUMNS = [
    pytest.param(2, False, marks=pytest.mark.matrix),
    pytest.param(3, True, marks=pytest.mark.worker),
]


@pytest.mark.parametrize(("column", "has_record"), _COLUMNS)
def test_each_row_is_as_measured(column: int, has_record: bool) -> None:
    page = (ROOT / "docs" / "how-to" / "capacity.md").read_text()
    rows = {row[1]: int(row[column].replace(",", "")) for row in _ROW.finditer(page)}

    sizes = {**measured(_TIMES, has_record=has_record), **staged(_STAGED), **scored(_STAGED)}

    assert rows.keys() == sizes.keys()
    assert rows == pytest.approx(sizes, rel=0.1, abs=80)
