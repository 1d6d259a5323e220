"""A body is interrupted by another thread, and nothing that comes after it."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from celery_defer import LeaseLostError
from celery_defer.app.fence import Fence


def fire(fence: Fence, fired: Event) -> None:
    fence.fire(LeaseLostError)
    fired.set()


def test_a_body_is_interrupted_in_its_loop() -> None:
    fence, fired = Fence(), Event()

    def body() -> None:
        Thread(target=fire, args=[fence, fired]).start()
        while True:
            pass

    with pytest.raises(LeaseLostError):
        body()
    fence.close()


def test_nothing_is_interrupted_once_the_fence_is_closed() -> None:
    fence, fired = Fence(), Event()
    fence.close()

    fire(fence, fired)

    assert sum(range(100_000)) == 4999950000


def test_an_interrupt_comes_inside_the_fence_or_not_at_all() -> None:
    for _ in range(300):
        fence, fired = Fence(), Event()
        other = Thread(target=fire, args=[fence, fired])
        try:
            try:
                other.start()
            finally:
                fence.close()
        except LeaseLostError:
            fence.close()
        if other.ident:
            other.join()

    assert sum(range(100_000)) == 4999950000
