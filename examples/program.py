"""How an example that needs a Redis begins, is interrupted, and ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from threading import Timer
from types import FrameType

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from examples.redis_server import RedisNotFoundError, own_database, redis_server
from examples.worker import WorkerError

__all__ = ["program"]


@contextmanager
def program(app: Celery) -> Iterator[str]:
    """Give *app* a Redis database of its own, and return its URL; leave nothing behind.

    A failure of Redis or of the worker ends the program with one line and status 1, a signal ends
    it without a traceback.
    """
    _prepare_process()
    try:
        with redis_server() as server, own_database(server) as url:
            app.conf.update(broker_url=url, result_backend=url)
            yield url
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (RedisNotFoundError, WorkerError) as error:
        sys.exit(f"Error: {error}")
    except (redis.ConnectionError, OperationalError) as error:
        sys.exit(f"Error: Redis has gone: {error}")


def _prepare_process() -> None:
    # SIGINT too: a shell that starts a program in the background lets it ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    # Celery prefers these to the app's own settings; here they belong to another app.
    for kind in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND"):
        os.environ.pop(f"CELERY_{kind}", None)
    # A terminal may be set to an encoding that has no Georgian.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace", line_buffering=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise, so that every `with` of the program cleans up."""
    if _is_in_finalizer(frame):  # Python ignores what a finalizer raises
        Timer(0.05, os.kill, (os.getpid(), number)).start()
    elif number == signal.SIGINT:
        raise KeyboardInterrupt
    else:
        raise SystemExit(128 + number)


def _is_in_finalizer(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
