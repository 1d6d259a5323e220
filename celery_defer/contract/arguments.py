"""How a payload's values are passed: to ``defer``, in a message, to the function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Protocol

from pydantic_core import to_json

from celery_defer.contract.fields import field_names
from celery_defer.contract.fit import fits, fits_list
from celery_defer.errors import ContractError, PayloadError
from celery_defer.model import PARENTS

Arguments = tuple[Sequence[Any], Mapping[str, Any]]


class Layout(Protocol):
    """How one payload value becomes arguments, and arguments become the payload value."""

    def called(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the payload value of a call of ``defer``; raise PayloadError."""

    def sent(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the payload value of a message; raise PayloadError."""

    @property
    def untyped(self) -> frozenset[str]:
        """The parts of a payload that may be anything, so that nothing is checked or changed."""
        ...

    def by_name(self, value: Any) -> Any:
        """Return the values of one payload by their names, from the payload value of a message."""
        ...

    def spread(self, value: Any, count: int) -> Arguments:
        """Return the arguments that pass *value* to the function, *count* of them by position."""
        ...

    def carry(self, value: bytes, count: int) -> bytes:
        """Return ``[args, kwargs]`` of a message as JSON, from the JSON of a value."""
        ...


@dataclass(frozen=True, slots=True)
class SchemaLayout:
    """The caller names the schema's fields; the function has one parameter for them all.

    With ``is_batch`` that is a list: each call is a batch of one.
    """

    task: str
    schema: str
    fields: frozenset[str] | None
    keyword: str | None
    untyped: frozenset[str] = frozenset()
    is_batch: bool = False

    @classmethod
    def of(
        cls,
        task: str,
        schema: Any,
        parameters: Sequence[Parameter],
        hints: Mapping[str, Any],
        *,
        is_batch: bool = False,
    ) -> SchemaLayout:
        name = getattr(schema, "__name__", str(schema))
        required = [p for p in parameters if p.default is Parameter.empty] or parameters[:1]
        if len(required) != 1 or required[0].kind is Parameter.VAR_KEYWORD:
            names = ", ".join(p.name for p in parameters) or "none"
            raise ContractError(
                f"{task} has a schema, so its function takes one payload parameter; it has: {names}"
            )
        payload = required[0]
        annotation = hints.get(payload.name, Any)
        is_fit = (fits_list if is_batch else fits)(annotation, schema)
        if payload.kind is not Parameter.VAR_POSITIONAL and not is_fit:
            wanted = f"list[{name}]" if is_batch else name
            raise ContractError(
                f"{task} has the schema {name}{' and batch=' if is_batch else ''}, but its "
                f"parameter is {payload}: annotate it as {payload.name}: {wanted}, or leave the "
                f"{'batch' if is_batch else 'schema'} out"
            )
        keyword = payload.name if payload.kind is Parameter.KEYWORD_ONLY else None
        return cls(task, name, field_names(schema), keyword, is_batch=is_batch)

    def called(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if args:
            raise PayloadError(f"{self.task} takes the fields of {self.schema} by name")
        if self.fields is not None and not kwargs.keys() <= self.fields:
            # Most models would drop an unknown field silently.
            problems = [
                f"{name}: {self.schema} has no such field"
                for name in kwargs
                if name not in self.fields
            ]
            raise PayloadError(f"payload of {self.task}: {'; '.join(problems)}", problems)
        return kwargs

    def sent(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self.keyword is not None and self.keyword in kwargs and not args:
            return self._payloads(kwargs[self.keyword])
        if len(args) == 1 and not kwargs:
            return self._payloads(args[0])
        what = f"one list of {self.schema}" if self.is_batch else f"one {self.schema}"
        raise PayloadError(f"message of {self.task} does not carry {what}")

    def _payloads(self, value: Any) -> Any:
        """Return what a message has for the function: of a batch without what is of its parents."""
        if not self.is_batch:
            return value
        if isinstance(value, dict):  # it was sent before the function had a batch
            return [value]
        return without_parents(value)

    def by_name(self, value: Any) -> Any:
        return value[0] if self.is_batch and isinstance(value, list) and value else value

    def spread(self, value: Any, count: int) -> Arguments:  # noqa: ARG002  # there is but one
        return ((), {self.keyword: value}) if self.keyword else ((value,), {})

    def carry(self, value: bytes, count: int) -> bytes:  # noqa: ARG002
        if self.is_batch:
            value = b"[%b]" % value
        if self.keyword:
            return b"[[],{%b:%b}]" % (to_json(self.keyword), value)
        return b"[[%b],{}]" % value


def without_parents(payloads: Any) -> Any:
    """Return the payloads in the message of a batch."""
    if isinstance(payloads, list) and payloads and _is_of_parents(payloads[-1]):
        return payloads[:-1]
    return payloads


def parents_in(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any]:
    """Return what the message of a batch says of the parents of its calls; nothing of another."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, list) and value and _is_of_parents(value[-1]):
            parents = value[-1][PARENTS]
            return parents if isinstance(parents, list) else ()
    return ()


def _is_of_parents(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() == {PARENTS}
