"""A task that takes as long as its test wants."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import shared_task


@shared_task
def wait_for(path: str) -> str:
    """Say in a file that it has begun, and by which process, and wait until there is *path*."""
    with Path(f"{path}-begun").open("a") as begun:
        begun.write(f"{os.getppid()}\n")
    while not Path(path).exists():
        time.sleep(0.01)
    return "ended"
