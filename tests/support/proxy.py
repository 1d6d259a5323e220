"""A TCP proxy before a server: it can be cut, and it counts what clients ask for."""

from __future__ import annotations

import math
import select
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

__all__ = ["Proxy"]

# A client that waits for an answer is silent for this long; one that still writes is not.
_SILENCE = 0.05
#: Where a server listens whose URL does not say so.
_PORTS = {"redis": 6379, "amqp": 5672}


@dataclass(eq=False)
class Proxy:
    """Forwards connections to the server at *target*, a URL.

    It gathers all that a client sends before it waits for an answer: ``requests`` has the bytes
    of each such burst, so its length is the number of round trips.
    """

    target: str
    requests: list[bytes] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)
    is_cut: bool = False
    #: How many bytes of clients pass before all is cut.
    _left: float = math.inf
    _unanswered: bytes = b""
    _flows: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Proxy:
        self._flows.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    @property
    def url(self) -> str:
        """The URL of the target, by way of the proxy."""
        parts = urlsplit(self.target)
        user = parts.netloc.rpartition("@")[0]
        here = f"127.0.0.1:{self._listener.getsockname()[1]}"
        return urlunsplit(parts._replace(netloc=f"{user}@{here}" if user else here))

    @property
    def trips(self) -> int:
        """How often clients have waited for an answer so far."""
        return len(self.requests)

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        self.is_cut = True
        self._flows.set()
        for sock in self._sockets:
            _shut(sock)

    def cut_after(self, count: int) -> None:
        """Let *count* more bytes of clients through, and cut then."""
        self._left = count

    def lose_answer_to(self, request: bytes) -> None:
        """Let the next request that has these bytes be done, and end its connection then."""
        self._unanswered = request

    def hang(self) -> None:
        """Take what clients send, and new connections, and answer nothing."""
        self._flows.clear()

    def mend(self) -> None:
        """Take connections again, and answer."""
        self._flows.set()
        self._left = math.inf
        self.is_cut = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # the listener is closed
                return
            if self.is_cut:
                client.close()
                continue
            thread = threading.Thread(target=self._forward, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _forward(self, client: socket.socket) -> None:
        # An OSError: the target is away, or all is cut.
        self._flows.wait()
        with client, suppress(OSError), socket.create_connection(self._address()) as server:
            self._sockets += [client, server]
            try:
                while self._pass_on(client, server):
                    pass
            finally:
                _shut(client)
                _shut(server)

    def _address(self) -> tuple[str, int]:
        parts = urlsplit(self.target)
        return parts.hostname or "localhost", parts.port or _PORTS[parts.scheme]

    def _pass_on(self, client: socket.socket, server: socket.socket) -> bool:
        ready, _, _ = select.select([client, server], [], [])
        self._flows.wait()
        if client in ready:
            burst = _burst(client)
            if not burst:  # it has gone
                return False
            self.requests.append(burst)
            server.sendall(burst[: int(min(self._left, len(burst)))])
            self._left -= len(burst)
            if self._unanswered and self._unanswered in burst:
                self._unanswered = b""
                server.recv(65536)
                return False
            if self._left < 0:
                self.cut()
            return True
        answer = server.recv(65536)
        client.sendall(answer)
        return bool(answer)


def _burst(sock: socket.socket) -> bytes:
    burst = b""
    while select.select([sock], [], [], _SILENCE if burst else None)[0]:
        part = sock.recv(65536)
        if not part:
            break
        burst += part
    return burst


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # gone already
        sock.shutdown(socket.SHUT_RDWR)
