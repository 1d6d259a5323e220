"""Blocks in threads, in coroutines and in generators."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from celery_defer import (
    NoRunError,
    OptionError,
    current_run,
    defer,
    deferring,
)
from tests.support.blocks import Published, failing, helper, in_thread
from tests.support.inside import WatchedStore


def test_a_thread_with_a_copied_context_defers_into_the_block(
    ship: Any, published: Published
) -> None:
    with deferring():
        in_thread(lambda: defer("first", ship, n=1))

    assert published() == ["first"]


def test_a_block_that_raises_in_one_thread_leaves_the_calls_of_the_others(
    ship: Any, published: Published
) -> None:
    with deferring():
        context = contextvars.copy_context()
        with suppress(ValueError):
            failing(
                lambda: defer("mine", ship, n=1),
                lambda: in_thread(lambda: defer("of a thread of mine", ship, n=2)),
                lambda: in_thread(lambda: helper(ship, "of another"), context),
            )

    assert published() == ["of another"]


def test_threads_without_a_copied_context_have_no_run(ship: Any) -> None:
    problems: list[Exception] = []

    def late() -> None:
        try:
            defer("late", ship, n=1)
        except NoRunError as error:
            problems.append(error)

    with deferring():
        in_thread(late, contextvars.Context())

    assert len(problems) == 1


def test_async_with_publishes_at_its_end(ship: Any, published: Published) -> None:
    async def view() -> list[str]:
        async with deferring():
            defer("first", ship, n=1)
            await asyncio.gather(_later("second"), _later("third"))
            return published()

    async def _later(id: str) -> None:
        defer(id, ship, n=2)

    assert asyncio.run(view()) == []
    assert published() == ["first", "second", "third"]


def test_async_with_publishes_in_another_thread_so_that_the_loop_goes_on(
    ship: Any, store: WatchedStore, monkeypatch: Any
) -> None:
    threads: list[int] = []
    stage = store.stage
    monkeypatch.setattr(
        store, "stage", lambda *a, **k: threads.append(threading.get_ident()) or stage(*a, **k),
        raising=False,
    )  # fmt: skip

    async def view() -> None:
        async with deferring():
            defer("first", ship, n=1)

    asyncio.run(view())

    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_two_requests_in_one_loop_keep_their_calls_apart(ship: Any, published: Published) -> None:
    async def request(id: str, fails: bool) -> None:
        async with deferring():
            defer(id, ship, n=1)
            await asyncio.sleep(0)
            if fails:
                raise ValueError

    async def serve() -> Any:
        return await asyncio.gather(
            request("first", False), request("second", True), return_exceptions=True
        )

    asyncio.run(serve())

    assert published() == ["first"]


def test_a_cancelled_request_publishes_nothing(ship: Any, published: Published) -> None:
    async def request() -> None:
        async with deferring():
            defer("first", ship, n=1)
            await asyncio.Event().wait()

    async def serve() -> None:
        task = asyncio.create_task(request())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(serve())

    assert published() == []


def test_a_task_of_the_loop_that_outlives_the_block_defers_no_more(ship: Any) -> None:
    async def view() -> Any:
        async with deferring():
            late = asyncio.create_task(_late())
        return await asyncio.gather(late, return_exceptions=True)

    async def _late() -> None:
        await asyncio.sleep(0.01)
        defer("late", ship, n=1)

    (problem,) = asyncio.run(view())

    assert isinstance(problem, NoRunError)


def _streamed(ship: Any) -> Iterator[str]:
    with deferring():
        defer("first", ship, n=1)
        yield "chunk"


def test_a_view_that_streams_publishes_when_it_is_read_to_the_end(
    ship: Any, published: Published
) -> None:
    stream = _streamed(ship)

    assert (next(stream), published()) == ("chunk", [])
    assert list(stream) == []
    assert published() == ["first"]


def test_a_stream_that_is_closed_elsewhere_leaves_no_block_behind(
    ship: Any, published: Published
) -> None:
    stream = _streamed(ship)
    next(stream)
    in_thread(stream.close)

    with pytest.raises(NoRunError):
        current_run()
    with pytest.raises(OptionError):  # in a run, `defer` would raise it
        ship.with_options(countdown="soon")
    helper(ship, "of the next request")

    assert published() == ["of the next request"]
