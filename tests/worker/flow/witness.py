"""The witness: a process that sees which bodies are executing, and asks nobody else.

A body keeps a connection to it open. Where a process is killed, the system closes its connections
before anybody can learn of its death: so no body is counted that is dead, and none is forgotten.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector
from time import monotonic

from tests.support.processes import Process
from tests.support.redis import free_port

__all__ = ["PORT", "Event", "Witness", "executing"]

#: What names the port of the witness to those who speak to it.
PORT = "FLOW_WITNESS"
_READY = "the witness listens"
_HOST = "127.0.0.1"
_OK = b"ok"


@dataclass(frozen=True, slots=True)
class Event:
    """What has become of one body, in seconds of the witness's clock: "enter", "leave" or "gone".

    A body is gone if it did not leave: its process was killed, or it raised.
    """

    at: float
    what: str
    key: str
    call: str


@contextmanager
def executing(key: str, call: str) -> Iterator[None]:
    """Tell the witness that a body executes, for as long as the block lasts."""
    with socket.create_connection((_HOST, int(os.environ[PORT])), timeout=60) as connection:
        _tell(connection, json.dumps([key, call]))
        yield
        _tell(connection, "leave")


def _tell(connection: socket.socket, line: str) -> None:
    connection.sendall(line.encode())
    if connection.recv(len(_OK)) != _OK:
        raise ConnectionError("the witness has gone")


class Witness(Process):
    """The process of a witness, and what it has seen so far."""

    def __init__(self) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "tests.worker.flow.witness", str(self.port)]
        super().__init__(command, ready=_READY)
        self._seen: list[Event] = []
        self._offset = 0

    def events(self) -> list[Event]:
        """Return all that was seen, in its order."""
        with self.log.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):  # it is being written
                    break
                self._offset += len(line)
                if line.startswith(b"["):
                    self._seen.append(Event(*json.loads(line)))
        return list(self._seen)


# -- in its own process ----------------------------------------------------------------------


def _serve(port: int) -> None:
    """Take connections, and write a line for each event."""
    bodies: dict[socket.socket, tuple[str, str]] = {}
    with socket.create_server((_HOST, port), backlog=512) as server, DefaultSelector() as selector:
        selector.register(server, EVENT_READ)
        print(_READY, flush=True)
        while True:
            for ready, _ in selector.select():
                if ready.fileobj is server:
                    selector.register(server.accept()[0], EVENT_READ)
                    continue
                connection: socket.socket = ready.fileobj  # type: ignore[assignment]
                if connection.fileno() != -1 and not _hear(connection, bodies):
                    _end(selector, connection)


def _hear(connection: socket.socket, bodies: dict[socket.socket, tuple[str, str]]) -> bool:
    """Note what a body says; return whether it goes on."""
    line = _received(connection)
    if connection not in bodies:
        if not line:
            return False
        key, call = json.loads(line)
        # Whoever has died by now is not counted, though its end was not heard yet.
        for other in [each for each, body in bodies.items() if body[0] == key and _is_dead(each)]:
            _note("gone", *bodies.pop(other))
        bodies[connection] = (key, call)
        _note("enter", key, call)
    else:
        _note("leave" if line else "gone", *bodies.pop(connection))
    if line:
        connection.sendall(_OK)
    return connection in bodies


def _received(connection: socket.socket, flags: int = 0) -> bytes:
    try:
        return connection.recv(4096, flags)
    except ConnectionError:  # it was reset
        return b""


def _is_dead(connection: socket.socket) -> bool:
    try:
        return _received(connection, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:  # it has nothing to say
        return False


def _end(selector: DefaultSelector, connection: socket.socket) -> None:
    selector.unregister(connection)
    connection.close()


def _note(what: str, key: str, call: str) -> None:
    print(json.dumps([monotonic(), what, key, call]), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
