"""What ``@deferred`` refuses where it is written."""

from __future__ import annotations

import pytest
from pydantic import RootModel

from celery_defer import OptionError, deferred


class Numbers(RootModel[list[int]]):
    pass


def test_a_schema_without_fields_is_refused() -> None:
    with pytest.raises(OptionError, match="Numbers"):
        deferred(schema=Numbers)
