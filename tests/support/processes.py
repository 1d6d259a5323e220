"""Processes of a test's own: how one starts, what it says, and how it dies or ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NoReturn, TypeVar

import pytest
from typing_extensions import Self

__all__ = ["ROOT", "SECONDS", "CeleryWorker", "Process", "missing", "wait_until"]

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
#: How long something may take that takes a moment.
SECONDS = 20


def wait_until(condition: Callable[[], T], what: str = "", seconds: float = SECONDS) -> T:
    """Return the first true value of *condition*; AssertionError after *seconds*."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s: {what or condition}"
        time.sleep(0.01)
    return value


def missing(what: str) -> NoReturn:
    """Skip the test that needs *what*; in CI, where nothing may be missing, let it fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


class Process:
    """A command, to be started as often as a test wants, with a log of its own each time.

    It is ready when it writes *ready*. Its *folder*, where the logs are, goes with it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        ready: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        folder: Path | None = None,
    ) -> None:
        self.command = command
        self.env = {**os.environ, **(env or {})}
        self.folder = folder or Path(tempfile.mkdtemp(prefix="celery-defer-"))
        self._ready = ready
        self._cwd = cwd
        self._starts = 0
        self._is_asked_to_end = False
        self._popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
            self.await_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- its life --------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and don't wait."""
        assert not self.is_running, f"{self.pid} runs already"
        self._starts += 1
        self._is_asked_to_end = False
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                self.command,
                cwd=self._cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the tests, which end what they have started; and a group can be
                # killed with all that is in it.
                start_new_session=True,
            )

    def await_ready(self, seconds: float = SECONDS) -> None:
        """Wait for its own word; AssertionError if it ends before."""
        what = f"{' '.join(self.command)} is ready"
        wait_until(lambda: self.is_ready or not self.is_running, what, seconds)
        assert self.is_running, self.logs()

    def signal(self, number: int) -> None:
        """Send a signal to it alone, and don't wait."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def terminate(self) -> None:
        """Ask it to end, and don't wait."""
        if not self._is_asked_to_end:  # Celery takes a second time for impatience
            self._is_asked_to_end = True
            self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with all that it has started, as a loss of power would."""
        if self.is_running:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def stop(self, seconds: float = 10) -> None:
        """Ask it to end, and kill it if it has not done so after *seconds*."""
        self.terminate()
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self) -> None:
        """End it, start it again, and wait until it is ready."""
        self.stop()
        self.start()
        self.await_ready()

    def close(self) -> None:
        """End it, and take its folder away."""
        self.stop()
        shutil.rmtree(self.folder)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it hang: connections stay open, and nothing answers."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    # -- what is seen of it ----------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._popen is not None, "it was never started"
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def is_ready(self) -> bool:
        return self._ready in self.logs()

    @property
    def log(self) -> Path:
        """Where it writes; each start has a new file, so that no word of an earlier one is read."""
        return self.folder / f"log-{self._starts}"

    def logs(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = SECONDS) -> int:
        """Wait for its end, and return its exit status; 0 if it was never started."""
        return 0 if self._popen is None else self._popen.wait(seconds)

    def children(self) -> list[int]:
        """Return the ids of the processes that it has started itself."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []


class CeleryWorker(Process):
    """A ``celery worker`` of *app*, a module that says what *env* may say."""

    #: All that are not closed yet.
    unclosed: ClassVar[list[CeleryWorker]] = []

    def __init__(
        self,
        app: str,
        hostname: str,
        *options: str,
        env: Mapping[str, str],
        folder: Path | None = None,
    ) -> None:
        command = [
            *(sys.executable, "-m", "celery", "-A", app, "worker", "--hostname", hostname),
            *("--without-mingle", "--without-gossip", "--without-heartbeat"),
            *("--loglevel", "INFO", *options),
        ]
        super().__init__(command, ready=" ready.", env=env, folder=folder)
        self.hostname = hostname
        scratch = self.folder / "tmp"
        scratch.mkdir(parents=True)
        # billiard leaves a folder behind.
        self.env |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}
        self.unclosed.append(self)

    def await_crash(self) -> None:
        """Wait until it was killed; AssertionError if it ended otherwise."""
        assert self.wait() == -signal.SIGKILL, self.logs()

    def close(self) -> None:
        if self in self.unclosed:
            self.unclosed.remove(self)
            super().close()
