"""A subcommand of ``celery defer``: its common options, its errors, its exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import click
from celery.bin.base import CeleryCommand, handle_preload_options

from celery_defer.current import extension_of
from celery_defer.errors import DeferError, EventError, IdError, OptionError, StoreError
from celery_defer.store import AWAY
from celery_defer.text import masked
from celery_defer.views.history import NO_RECORDS

#: The exit status if something was found, if the command line is wrong, if something is away.
FOUND, WRONG, AWAY_STATUS = 1, 2, 3
_WRONG_WORDS = (OptionError, EventError, IdError)
# click 8.2 and later: a group without a command, which prints its help.
_HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())
_SERVICES = frozenset({"redis", "kombu", "amqp", "sqlalchemy", "pymongo"})


class _InOneLine:
    """Prints an error in one line, with what to do, instead of a traceback or a usage."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            context: click.Context = super().make_context(*args, **options)  # type: ignore[misc]
        except _HELP:
            raise
        except click.UsageError as error:
            raise _of_usage(error) from None
        return context

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)  # type: ignore[misc]
        except click.UsageError as error:
            raise _of_usage(error) from None
        except _WRONG_WORDS as error:
            raise UsageProblem(str(error)) from None
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
    """A command that has others below it."""


class Problem(click.ClickException):
    """A problem that ends the command with status 1."""

    exit_code = FOUND

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(masked(message).split()))


class UsageProblem(Problem):
    """The command line is wrong, or the app has not what it needs."""

    exit_code = WRONG


class AwayProblem(Problem):
    """Something does not reply."""

    exit_code = AWAY_STATUS


def command(
    group: click.Group, name: str | None = None, *, short: str | None = None
) -> Callable[..., Any]:
    """Return a decorator that makes a function a command of *group*, with ``--json``.

    It is called with click's context, ``as_json``, and its own options. The list of the commands
    has *short*, for a docstring that is too long for it.
    """
    return lambda function: group.command(name, cls=DeferCommand, short_help=short)(
        _called(function)
    )


def subgroup(group: click.Group, *, short: str) -> Callable[..., Any]:
    """Return a decorator as ``command`` does, for one that has commands below it.

    The function is called if none of them is.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        def alone(ctx: click.Context, **options: Any) -> None:
            if ctx.invoked_subcommand is None:
                function(ctx, **options)

        alone = _called(update_wrapper(alone, function))
        return group.group(cls=DeferGroup, invoke_without_command=True, short_help=short)(alone)

    return decorate


def defer_in(context: Any) -> Any:
    """Return the Defer of the command's app, whose tasks are loaded."""
    app = context.obj.app
    extension = extension_of(app)
    if extension is None:
        raise UsageProblem(
            "this app has no Defer(app): add it where the app is made, or "
            "name the app that has one with -A"
        )
    app.loader.import_default_modules()
    app.finalize()
    return extension


def extension_in(context: Any) -> Any:
    """Return the Defer of the command's app, which has a store."""
    extension = defer_in(context)
    if extension.store is None:
        raise UsageProblem(str(StoreError()))
    return extension


def app_in(context: Any) -> Any:
    """Return the command's app, which keeps records of runs."""
    extension = extension_in(context)
    if not extension.settings.record:
        raise UsageProblem(NO_RECORDS)
    return extension.app


def confirm(question: str, *, yes: bool) -> None:
    """Ask before work is dropped; without a terminal to ask on, ``--yes`` must have said it."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageProblem(f"{question} There is no terminal to ask on: give --yes.")
    click.confirm(question, abort=True)


def _called(function: Callable[..., Any]) -> Any:
    json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
    return json(click.pass_context(handle_preload_options(function)))


def _of_usage(error: click.UsageError) -> UsageProblem:
    text = error.format_message().rstrip(".")
    return UsageProblem(f"{text}; see `{error.ctx.command_path} --help`" if error.ctx else text)


def _is_away(error: Exception) -> bool:
    return isinstance(error, AWAY) or type(error).__module__.partition(".")[0] in _SERVICES


def _of_service(context: Any, error: Exception) -> str:
    place = getattr(extension_of(context.obj.app), "place", "the store")
    return (
        f"{place} or the broker does not reply ({type(error).__name__}: {error}): "
        "start it, or correct its URL"
    )
