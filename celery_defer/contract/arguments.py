"""How a payload's values are passed: to ``defer``, in a message, to the function."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Protocol

from pydantic_core import from_json, to_json
from typing_extensions import is_typeddict

from celery_defer.contract.fit import fits
from celery_defer.errors import ContractError, PayloadError

Arguments = tuple[Sequence[Any], Mapping[str, Any]]

#: Annotations that say no more than none.
ANYTHING = (Any, object)


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

    def spread(self, value: Any, count: int) -> Arguments:
        """Return the arguments that pass *value* to the function, *count* of them by position."""
        ...

    def carry(self, value: bytes, count: int) -> bytes:
        """Return ``[args, kwargs]`` of a message as JSON, from the JSON of a value."""
        ...


@dataclass(frozen=True, slots=True)
class SchemaLayout:
    """The caller names the schema's fields; the function has one parameter for them all."""

    task: str
    schema: str
    fields: frozenset[str] | None
    keyword: str | None
    untyped: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, task: str, schema: Any, parameters: Sequence[Parameter], hints: Mapping[str, Any]
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
        if payload.kind is not Parameter.VAR_POSITIONAL and not fits(annotation, schema):
            raise ContractError(
                f"{task} has the schema {name}, but its parameter is {payload}: annotate it as "
                f"{payload.name}: {name}, or leave the schema out"
            )
        keyword = payload.name if payload.kind is Parameter.KEYWORD_ONLY else None
        return cls(task, name, _field_names(schema), keyword)

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
            return kwargs[self.keyword]
        if len(args) == 1 and not kwargs:
            return args[0]
        raise PayloadError(f"message of {self.task} does not carry one {self.schema}")

    def spread(self, value: Any, count: int) -> Arguments:  # noqa: ARG002  # there is but one
        return ((), {self.keyword: value}) if self.keyword else ((value,), {})

    def carry(self, value: bytes, count: int) -> bytes:  # noqa: ARG002
        if self.keyword:
            return b"[[],{%b:%b}]" % (to_json(self.keyword), value)
        return b"[[%b],{}]" % value


@dataclass(frozen=True, slots=True)
class SignatureLayout:
    """The caller passes the function's own arguments; the payload maps each name to its value.

    Values of ``*args`` and ``**kwargs`` are under these two keys, which no parameter can have.
    What was passed by position arrives by position, because a task's own ``__call__`` may read it.
    """

    VAR_POSITIONAL = "*args"
    VAR_KEYWORD = "**kwargs"

    task: str
    positional: tuple[str, ...]
    positional_only: int
    names: frozenset[str]
    has_var_positional: bool
    has_var_keyword: bool
    untyped: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, task: str, parameters: Sequence[Parameter], hints: Mapping[str, Any]
    ) -> SignatureLayout:
        kinds = [parameter.kind for parameter in parameters]
        only, either = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD
        return cls(
            task,
            positional=tuple(p.name for p in parameters if p.kind in (only, either)),
            positional_only=kinds.count(only),
            names=frozenset(
                p.name for p in parameters if p.kind in (either, Parameter.KEYWORD_ONLY)
            ),
            has_var_positional=Parameter.VAR_POSITIONAL in kinds,
            has_var_keyword=Parameter.VAR_KEYWORD in kinds,
            untyped=frozenset(cls.key(p) for p in parameters if hints.get(p.name, Any) in ANYTHING),
        )

    @classmethod
    def key(cls, parameter: Parameter) -> str:
        """Return the key under which the payload has the value of a parameter."""
        if parameter.kind is Parameter.VAR_POSITIONAL:
            return cls.VAR_POSITIONAL
        return cls.VAR_KEYWORD if parameter.kind is Parameter.VAR_KEYWORD else parameter.name

    def called(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self.positional_only and not self.has_var_keyword:
            self._check_positional_only(kwargs)
        value = dict(kwargs) if not self.has_var_keyword else self._with_extra(kwargs)
        return {**value, **self._positional(args, kwargs)} if args else value

    sent = called

    def spread(self, value: Any, count: int) -> Arguments:
        named = dict(value)
        extra = named.pop(self.VAR_KEYWORD, {})
        rest = named.pop(self.VAR_POSITIONAL, [])
        args = [named.pop(name) for name in self.positional[:count] if name in named]
        return [*args, *rest], {**named, **extra}

    def carry(self, value: bytes, count: int) -> bytes:
        if count or self.has_var_keyword:
            return to_json(self.spread(from_json(value), count))
        return b"[[],%b]" % value

    def _check_positional_only(self, kwargs: Mapping[str, Any]) -> None:
        if named := [name for name in self.positional[: self.positional_only] if name in kwargs]:
            raise PayloadError(f"{self.task} takes {', '.join(named)} by position only")

    def _with_extra(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        named = {key: item for key, item in kwargs.items() if key in self.names}
        extra = {key: item for key, item in kwargs.items() if key not in self.names}
        return {**named, self.VAR_KEYWORD: extra} if extra else named

    def _positional(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        count = len(self.positional)
        twice = [
            name for name in self.positional[: len(args)] if name in kwargs.keys() & self.names
        ]
        if twice:
            raise PayloadError(f"{self.task} got {', '.join(twice)} twice")
        if len(args) > count and not self.has_var_positional:
            raise PayloadError(f"{self.task} takes {count} positional arguments, not {len(args)}")
        named = dict(zip(self.positional, args, strict=False))
        return {**named, self.VAR_POSITIONAL: list(args[count:])} if len(args) > count else named


def _field_names(schema: Any) -> frozenset[str] | None:
    """Return the names that a type checker accepts for *schema*; None where it accepts any."""
    if is_typeddict(schema):
        return frozenset(schema.__annotations__)
    parameters = inspect.signature(schema).parameters
    if any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return frozenset(parameters) | frozenset(getattr(schema, "model_fields", ()))
