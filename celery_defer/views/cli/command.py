"""A subcommand of ``celery defer``: its common options, its errors, its exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import click
from celery.bin.base import CeleryCommand, handle_preload_options

from celery_defer.current import extension_of
from celery_defer.errors import DeferError, StoreError
from celery_defer.store import AWAY
from celery_defer.text import masked

#: The exit status if something was found; click's own for a wrong command line is 2.
FOUND = 1
_SERVICES = frozenset({"redis", "kombu", "amqp", "sqlalchemy", "pymongo"})


class _InOneLine:
    """Prints an error in one line, with what to do, instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)  # type: ignore[misc]
        except DeferError as error:
            is_away = isinstance(error, StoreError) and error.__cause__ is not None
            raise (AwayProblem if is_away else Problem)(str(error)) from None
        except Exception as error:
            if not _is_away(error):
                raise
            raise AwayProblem(_of_service(ctx, error)) from None


class DeferCommand(_InOneLine, CeleryCommand):
    """A command."""


class DeferGroup(_InOneLine, click.Group):
    """A command that has others below it; alone, it lists."""


class Problem(click.ClickException):
    """A problem that ends the command with status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(masked(message).split()))


class AwayProblem(Problem):
    """Something does not reply."""

    exit_code = 3


def command(group: click.Group, name: str | None = None) -> Callable[..., Any]:
    """Return a decorator that makes a function a command of *group*, with ``--json``.

    It is called with click's context, ``as_json``, and its own options.
    """
    return lambda function: group.command(name, cls=DeferCommand)(_called(function))


def subgroup(group: click.Group) -> Callable[..., Any]:
    """Return a decorator as ``command`` does, for one that has commands below it.

    The function is called if none of them is.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        def alone(ctx: click.Context, **options: Any) -> None:
            if ctx.invoked_subcommand is None:
                function(ctx, **options)

        alone = _called(update_wrapper(alone, function))
        return group.group(cls=DeferGroup, invoke_without_command=True)(alone)

    return decorate


def defer_in(context: Any) -> Any:
    """Return the Defer of the command's app, whose tasks are loaded."""
    app = context.obj.app
    extension = extension_of(app)
    if extension is None:
        raise click.UsageError("this app has no Defer(app)")
    app.loader.import_default_modules()
    app.finalize()
    return extension


def extension_in(context: Any) -> Any:
    """Return the Defer of the command's app, which has a store."""
    extension = defer_in(context)
    if extension.store is None:
        raise click.UsageError(str(StoreError()))
    return extension


def confirm(question: str, *, yes: bool) -> None:
    """Ask before work is dropped; without a terminal to ask on, ``--yes`` must have said it."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} There is no terminal to ask on: give --yes.")
    click.confirm(question, abort=True)


def _called(function: Callable[..., Any]) -> Any:
    json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
    return json(click.pass_context(handle_preload_options(function)))


def _is_away(error: Exception) -> bool:
    return isinstance(error, AWAY) or type(error).__module__.partition(".")[0] in _SERVICES


def _of_service(context: Any, error: Exception) -> str:
    place = getattr(extension_of(context.obj.app), "place", "the store")
    return (
        f"{place} or the broker does not reply ({type(error).__name__}: {error}): "
        "start it, or correct its URL"
    )
