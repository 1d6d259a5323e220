"""A proxy that counts round trips: how often a client stops talking to wait for an answer."""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.parse import urlsplit, urlunsplit

__all__ = ["CountingProxy", "counting_proxy"]

# Longer than a client needs between two pieces of one pipeline.
_QUIET = 0.02


class CountingProxy(socketserver.ThreadingTCPServer):
    """Passes on what clients say, in one piece for each time they fall silent."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self._target = urlsplit(url)
        self.trips = 0

    @property
    def url(self) -> str:
        """The URL of the target, by way of the proxy."""
        return urlunsplit(self._target._replace(netloc=f"127.0.0.1:{self.server_address[1]}"))

    def connect(self) -> socket.socket:
        return socket.create_connection((self._target.hostname, self._target.port or 6379))


class _Connection(socketserver.BaseRequestHandler):
    server: CountingProxy
    request: socket.socket

    def handle(self) -> None:
        with self.server.connect() as target:
            Thread(target=_pass_on, args=(target, self.request), daemon=True).start()
            while said := _said(self.request):
                self.server.trips += 1
                target.sendall(said)


@contextmanager
def counting_proxy(url: str) -> Iterator[CountingProxy]:
    """Run a proxy before the server at *url*."""
    with CountingProxy(url) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()


def _said(client: socket.socket) -> bytes:
    """Collect what *client* says until it waits; empty when it has gone."""
    said = b""
    client.settimeout(None)
    try:
        while piece := client.recv(65536):
            said += piece
            client.settimeout(_QUIET)
    except TimeoutError:
        pass
    except OSError:
        return b""
    return said


def _pass_on(source: Any, sink: Any) -> None:
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
    except OSError:  # the other side has gone
        pass
