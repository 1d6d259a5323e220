"""Whether a function's parameter takes the objects of a schema."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any

from typing_extensions import is_typeddict

from celery_defer import guard


def fits(annotation: Any, schema: type) -> bool:
    """Whether a parameter with this annotation may take an object of *schema*.

    True where that cannot be known: of a type variable, say.
    """
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits(member, schema) for member in parts)
    if origin is Annotated:
        return fits(parts[0], schema)
    annotation = origin or annotation
    if annotation is Any or not isinstance(annotation, type):  # Any is a class since Python 3.11
        return annotation is not None
    if is_typeddict(annotation):
        return is_typeddict(schema)
    return _is_kind(dict if is_typeddict(schema) else schema, annotation)


def fits_list(annotation: Any, schema: type) -> bool:
    """Whether a parameter with this annotation may take a list of objects of *schema*."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits_list(member, schema) for member in parts)
    if origin is Annotated:
        return fits_list(parts[0], schema)
    kind = origin or annotation
    if kind is Any or not isinstance(kind, type):
        return kind is not None
    return _is_kind(list, kind) and (len(parts) != 1 or fits(parts[0], schema))


def _is_kind(kind: type, annotation: type) -> bool:
    # A protocol may refuse the question.
    return guard.attempt(lambda: issubclass(kind, annotation), default=True)
