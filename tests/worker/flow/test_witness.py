"""The witness knows who executes, also of those who die."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from tests.support.processes import Process, wait_until
from tests.worker.flow.witness import PORT, Witness, executing

_BODY = """
import time
from tests.worker.flow.witness import executing
with executing("a", "1"):
    print("it executes", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Witness]:
    with Witness() as witness:
        monkeypatch.setenv(PORT, str(witness.port))
        yield witness


def words(witness: Witness) -> list[tuple[str, str]]:
    return [(event.what, event.call) for event in witness.events()]


def test_bodies_enter_and_leave(witness: Witness) -> None:
    with executing("a", "1"), executing("a", "2"):
        pass

    assert words(witness) == [("enter", "1"), ("enter", "2"), ("leave", "2"), ("leave", "1")]


def test_a_body_that_raises_is_gone(witness: Witness) -> None:
    with pytest.raises(ValueError, match="no"), executing("a", "1"):
        raise ValueError("no")

    wait_until(lambda: words(witness) == [("enter", "1"), ("gone", "1")])


def test_a_body_whose_process_is_killed_is_gone_before_the_next_enters(witness: Witness) -> None:
    with (
        Process([sys.executable, "-c", _BODY], ready="it executes") as body,
        socket.create_connection(("127.0.0.1", witness.port)) as other,
    ):
        with witness.hanging():  # it hears of both at once
            body.kill()
            other.sendall(b'["a", "2"]')
        other.recv(2)

        assert words(witness) == [("enter", "1"), ("gone", "1"), ("enter", "2")]
