"""Runs the blocks of one page in order, in a folder of its own, as a reader would.

========================  =========================================================
``python``, ``toml``      first line ``# shop.py``: written to that file;
                          ``# shop.py (continued)``: added to it
``python``, ``pycon``     run in one Python shell, which starts anew after a file is
                          written; ``pycon`` output is compared
``console``               each ``$ command`` is run and its output compared; a server
                          (a worker, a web server) runs in the background to the
                          page's end, or until the page starts it again
``text worker``           lines that the worker has logged; its processes write them in
                          no fixed order
``text``                  a chart or a tree: not run
``{…}``                   a directive of Sphinx: not run
========================  =========================================================

Anything else is an error, so that no block goes unrun unnoticed. In output, ``...``
stands for what differs from run to run.
"""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from tests.docs.blocks import Block
from tests.support.processes import Process, wait_until
from tests.support.redis import free_port

__all__ = ["BlockError", "Page", "starts_server"]

SHELL = Path(__file__).with_name("shell.py")
# Known by sight and not run: `make` targets are run by other tests, and an installation
# would change the environment that the tests run in. tests/deploy runs what the others start.
NOT_RUN = re.compile(r"^(make|pip install|docker|kubectl|sudo)\b")
# The commands that do not end by themselves, and what each says when it is ready.
SERVERS = {
    "worker": (re.compile(r"^(\w+=\S+ )*celery .*\bworker\b"), " ready"),
    "flower": (re.compile(r"^celery .*\bflower\b"), "Connected to"),
    "flask": (re.compile(r"^flask .*\brun\b"), "Running on"),
    "django": (re.compile(r"^python manage\.py runserver\b"), "Starting development server"),
}
SECONDS = 30
_REDIS = re.compile(r"redis://localhost:6379/\d+")
_PORT = re.compile(r"(?<![\w.])(5000|5555|8000|9808)(?!\w)")


class BlockError(AssertionError):
    """A block does not do what the page says."""

    def __init__(self, block: Block, problem: str) -> None:
        super().__init__(f"{block}\n{problem}\n--- the block ---\n{block.text}")


class Page:
    """The folder, the shell and the servers of one page."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.shell: subprocess.Popen[str] | None = None
        self.servers: dict[str, Process] = {}
        self.ports: dict[str, str] = {}

    def run(self, block: Block) -> None:
        """Do what *block* says; raise BlockError if it does not come out as shown."""
        if block.runs:
            self._action(block)(block)

    def close(self) -> None:
        """End what the page has started."""
        self._end_shell()
        for name in list(self.servers):
            self._end(name)

    def _action(self, block: Block) -> Callable[[Block], None]:
        if block.file is not None:
            return self._write
        actions = {
            "python": self._evaluate,
            "pycon": self._evaluate,
            "console": self._type,
            "text worker": self._find_in_log,
        }
        if block.info not in actions:
            raise BlockError(block, f"a block of kind {block.info!r} cannot be run")
        return actions[block.info]

    # -- files and Python ------------------------------------------------------------

    def _write(self, block: Block) -> None:
        path = self.folder / str(block.file)
        text = self._local(block.text)
        if block.continues:
            if not path.exists():
                raise BlockError(block, f"there is no {block.file} to continue")
            text = f"{path.read_text()}\n\n{text}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self._end_shell()

    def _evaluate(self, block: Block) -> None:
        if self.shell is None:
            self.shell = self._start([sys.executable, str(SHELL)])
        shell = self.shell
        assert shell.stdin is not None
        assert shell.stdout is not None
        sent = {"kind": block.info, "text": self._local(block.text), "at": str(block)}
        shell.stdin.write(json.dumps(sent) + "\n")
        shell.stdin.flush()
        answers, _, _ = select.select([shell.stdout], [], [], SECONDS)
        answer = shell.stdout.readline() if answers else ""
        if not answer:
            shell.kill()
            raise BlockError(block, f"the Python shell has died, or gave no answer in {SECONDS} s")
        if problem := json.loads(answer):
            raise BlockError(block, problem)

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        with self.folder.with_name(f"{self.folder.name}-shell.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def _end_shell(self) -> None:
        if self.shell is not None:
            self.shell.communicate()
            self.shell = None

    # -- commands ----------------------------------------------------------------------

    def _type(self, block: Block) -> None:
        for command, shown in _commands(block):
            if NOT_RUN.match(command):
                continue
            local = self._local(command)
            if name := _server(command):
                self._serve(block, name, local)
                self._await_log(block, name, shown)
            else:
                self._compare(block, local, shown)

    def _compare(self, block: Block, command: str, shown: str) -> None:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if not _pattern(shown).fullmatch(done.stdout.strip()):
            raise BlockError(block, f"$ {command} answered\n{done.stdout}")

    def _serve(self, block: Block, name: str, command: str) -> None:
        self._end(name)
        words = shlex.split(command)
        settings = list(takewhile(lambda word: "=" in word, words))
        env = {**self._environment(), **dict(each.split("=", 1) for each in settings)}
        self.servers[name] = Process(words[len(settings) :], env=env, cwd=self.folder)
        self.servers[name].start()
        self._await_log(block, name, f"...{SERVERS[name][1]}...")

    def _end(self, name: str) -> None:
        """End a server at once: what the page shows of it is done, and a warm stop takes 2 s."""
        if server := self.servers.pop(name, None):
            server.kill()
            server.close()

    # -- what a server says ------------------------------------------------------------

    def _find_in_log(self, block: Block) -> None:
        self._await_log(block, "worker", self._local(block.text))

    def _await_log(self, block: Block, name: str, shown: str) -> None:
        server = self.servers[name]

        def missing() -> str | None:
            return _missing(shown.splitlines(), server.logs())

        with suppress(AssertionError):
            wait_until(lambda: not missing() or not server.is_running, seconds=SECONDS)
        if line := missing():
            raise BlockError(block, f"{name} has not said {line!r}:\n{server.logs()}")

    # -- the page's own Redis and ports --------------------------------------------------

    def _local(self, text: str) -> str:
        """Put this run's Redis database and free ports where the page has the usual ones."""
        return _PORT.sub(self._port, _REDIS.sub(self.redis_url, text))

    def _port(self, match: re.Match[str]) -> str:
        return self.ports.setdefault(match[0], str(free_port()))

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "80"}


def starts_server(block: Block) -> bool:
    """Whether running *block* starts a worker or another server."""
    return block.info == "console" and any(_server(command) for command, _ in _commands(block))


def _commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that is shown below it."""
    if not block.text.startswith("$ "):
        raise BlockError(block, "a console block begins with a command: $ …")
    pieces = re.split(r"^\$ ", block.text.replace("\\\n", ""), flags=re.MULTILINE)[1:]
    split = (piece.partition("\n") for piece in pieces)
    return [(command.strip(), output.strip()) for command, _, output in split]


def _server(command: str) -> str | None:
    return next((name for name, (known, _) in SERVERS.items() if known.search(command)), None)


def _pattern(shown: str) -> re.Pattern[str]:
    """What a reader understands by the output shown: ``...`` may be anything, many lines too."""
    return re.compile(".*".join(map(re.escape, shown.strip().split("..."))), re.DOTALL)


def _missing(shown: list[str], log: str) -> str | None:
    """The first of the lines shown that is not in the log."""
    logged = [line.strip() for line in log.splitlines()]
    for line in filter(None, map(str.strip, shown)):
        if not any(map(_pattern(line).fullmatch, logged)):
            return line
    return None
