"""How a step's failure is kept: an exception as JSON, and the exception of it again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from celery_defer.memo import Failure

__all__ = ["failure_of", "raised_by"]


def failure_of(backend: Any, error: BaseException, *, is_final: bool) -> Failure:
    """Write *error* as Celery writes one in a result."""
    return Failure(backend.prepare_exception(error, serializer="json"), is_final)


def raised_by(backend: Any, failure: Failure) -> BaseException:
    """Answer the exception of a failure: of the same class, and with the same ``args``."""
    kept = dict(failure.exception)
    made: BaseException = backend.exception_to_python(dict(kept))
    kind = _class_of(kept)
    if kind is None or isinstance(made, kind):
        return made
    # Celery calls the class with the args; one that takes others is made without a call.
    again = kind.__new__(kind)
    again.args = tuple(kept.get("exc_message") or ())
    return again


def _class_of(kept: Mapping[str, Any]) -> type[BaseException] | None:
    found: Any = sys.modules.get(kept.get("exc_module") or "builtins")
    for name in str(kept.get("exc_type")).split("."):
        found = getattr(found, name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None
