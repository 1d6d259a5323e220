"""A Flower of the test's own, with the Deferred tab or without, and a reader of its pages."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import httpx

from tests.support.processes import Process, wait_until
from tests.support.redis import free_port

__all__ = ["INSTALL", "Flower"]

#: The line that adds the tab.
INSTALL = "from celery_defer.flower import install; install()"


class Flower(Process):
    """A ``celery -A app flower`` with *config* as its ``flowerconfig.py``."""

    def __init__(
        self,
        app: str,
        *options: str,
        env: Mapping[str, str],
        config: str = INSTALL,
        prefix: str = "",
    ) -> None:
        self.port = free_port()
        command = [
            *(sys.executable, "-m", "celery", "-A", app, "flower", "--address=127.0.0.1"),
            *(f"--port={self.port}", *([f"--url_prefix={prefix}"] if prefix else []), *options),
        ]
        super().__init__(command, ready="Broker: ", env=env)
        file = self.folder / "flowerconfig.py"
        file.write_text(config)
        self.command = [*command, f"--conf={file}"]
        self.url = f"http://127.0.0.1:{self.port}{'/' + prefix if prefix else ''}"

    def await_ready(self, seconds: float = 30) -> None:
        super().await_ready(seconds)
        wait_until(self._replies, "Flower replies", seconds)

    def visitor(self, **options: Any) -> Visitor:
        return Visitor(base_url=self.url, timeout=20, **options)

    def _replies(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthcheck").status_code < 500
        except httpx.TransportError:
            return False


class Visitor(httpx.Client):
    """Reads Flower's pages, and presses their buttons, as a browser without scripts does."""

    def page(self, path: str, status: int = 200) -> str:
        response = self.get(path)
        assert response.status_code == status, f"{path}: {response.status_code}: {_main(response)}"
        return response.text

    def press(self, page: str, action: str, **fields: str) -> httpx.Response:
        """Send the form of *page* with this action, its hidden fields, and *fields*."""
        return self.submit(self.form(self.page(page), action), **fields)

    def form(self, html: str, action: str) -> re.Match[str]:
        form = re.search(rf'<form [^>]*action="([^"]*/{action})".*?</form>', html, re.S)
        assert form, f"the page has no button {action}"
        return form

    def submit(self, form: re.Match[str], **fields: str) -> httpx.Response:
        hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0])
        origin = str(self.base_url).partition("//")[2].partition("/")[0]
        return self.post(f"http://{origin}{form[1]}", data={**dict(hidden), **fields})


def _main(response: httpx.Response) -> str:
    """Return the text of a page, without what Flower has above and below it."""
    main = response.text.partition("<main")[2].partition("</main>")[0] or response.text
    return " ".join(re.sub(r"<[^>]*>", " ", main).split())
