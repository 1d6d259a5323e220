"""The arguments of a call that was refused, as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from json import JSONEncoder
from typing import Any
from uuid import UUID

from celery.utils.saferepr import saferepr
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from celery_defer import guard
from celery_defer.run import shown

# celery.app.amqp.AMQP.argsrepr_maxsize
_MOST_SHOWN = 1024


def refused_text(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return arguments as JSON, else as text, cut where Celery cuts those that Flower shows."""
    if json := guard.attempt(lambda: _as_json(args, kwargs)):
        return json
    text = guard.attempt(lambda: saferepr((*args, kwargs) if kwargs else args, _MOST_SHOWN))
    return (text or "").encode(errors="backslashreplace").decode()


def _as_json(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return arguments as JSON; None if that is too long, raise an error if there is none."""
    json = ""
    for part in _ENCODER.iterencode(shown([args, kwargs])):
        json += part
        if len(json) > _MOST_SHOWN:
            return None
    json.encode()  # half of a pair of surrogates has no UTF-8
    return json


def _plain(value: Any) -> Any:
    """Return what people read of a value; an iterator is left alone, for others will read it."""
    if isinstance(value, date | time | timedelta | Decimal | UUID | Enum | BaseModel):
        return to_jsonable_python(value)
    raise TypeError


_ENCODER = JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)
