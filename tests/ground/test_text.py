"""Values and exceptions as text, whatever their own methods do."""

from __future__ import annotations

from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from celery_defer.text import safe_repr, text_of


class Odd(Exception):
    """Raises the error that it holds where it is shown."""

    def __repr__(self) -> str:
        raise self.args[0]

    __str__ = __repr__


def test_a_value_without_a_repr_is_shown_by_its_class() -> None:
    assert safe_repr(Odd(LookupError())) == "<Odd>"


def test_an_error_without_a_text_is_shown_by_its_class() -> None:
    assert text_of(Odd(LookupError())) == "<Odd>"


@pytest.mark.parametrize("show", [safe_repr, text_of])
def test_a_soft_time_limit_that_strikes_in_a_repr_gets_through(show: Any) -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        show(Odd(SoftTimeLimitExceeded()))


def test_an_error_has_a_text_that_can_be_stored() -> None:
    text = text_of(ValueError("\ud800" + "x" * 3_000))

    assert text.startswith("ValueError('\\ud800xxx")
    assert len(text) == 2_000
