"""What Kubernetes asks of a worker: ``python probe.py ready`` or ``live``; the status is 0 for yes.

It imports no package, so that it costs little: it runs every few seconds.
"""

import os
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

FILE = Path(os.environ.get("HEALTH_FILE", "/tmp/worker-is-alive"))
SECONDS = 20.0
PORTS = {"amqp": 5672, "amqps": 5671, "sentinel": 26379}


def is_ready() -> bool:
    """Return whether the worker is connected to the broker, and takes messages."""
    try:
        return time.time() - FILE.stat().st_mtime < SECONDS
    except FileNotFoundError:
        return False


def is_live() -> bool:
    """Return False only if a restart can help: the broker is there, and no message is taken."""
    return is_ready() or not broker_replies()


def broker_replies() -> bool:
    """Return whether something listens at the broker's address."""
    url = urlsplit(os.environ["BROKER_URL"].split(";")[0])
    address = (url.hostname or "localhost", url.port or PORTS.get(url.scheme, 6379))
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(not {"ready": is_ready, "live": is_live}[sys.argv[1]]())
