"""``python -m examples.llm_reply [PICTURE]``: eighty questions, two prompts; on a real worker.

The model is a stand-in, and so are the customers: what is compared is made up.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import sha256
from tempfile import gettempdir

from celery.result import AsyncResult

from celery_defer import Comparison, compare, run_id, send_event
from examples.comparison import show
from examples.llm_reply.app import PLAIN, WARM, Thumb, app, reply, thumb
from examples.program import program
from examples.worker import running_worker

MODULE = "examples.llm_reply.app"
QUESTIONS = [
    "Where is my parcel? The order is {}.",
    "When do I get the refund of order {}?",
    "May I have another size? The order is {}.",
    "Where is the invoice of order {}?",
]


def main() -> None:
    with (
        program(app) as url,
        running_worker(app, MODULE, LLM_REPLY_REDIS_URL=url, LLM_REPLY_PATIENCE="3s"),
    ):
        print("The model is a stand-in, and so are the customers: the numbers are made up.\n")
        print(f"  plain: {PLAIN}\n  warm:  {WARM}")

        runs = {customer: reply.delay(customer, text) for customer, text in asked()}
        for customer, run in runs.items():
            give_thumb(customer, run)
        for run in runs.values():
            for name in ("judge", "feedback"):
                app.AsyncResult(run_id(run.id, name)).get(timeout=20)
        comparison = compare("reply-prompt")
        show(comparison)
        draw(comparison, sys.argv[1] if sys.argv[1:] else f"{gettempdir()}/llm_reply.png")


def asked() -> Iterator[tuple[str, str]]:
    """Yield who asks what."""
    for number in range(80):
        yield f"customer {number}", QUESTIONS[number % 4].format(7000 + number)


def give_thumb(customer: str, run: AsyncResult[str]) -> None:
    """Be a customer: two of three give a thumb, and of those who were greeted more give it up."""
    text = run.get(timeout=20)
    mood = int(sha256(f"{customer} {text}".encode()).hexdigest()[:8], 16) % 100
    if mood % 3:
        send_event(thumb, Thumb(reply=run.id, up=mood < (80 if "Hello" in text else 60)))


def draw(comparison: Comparison, path: str) -> None:
    try:
        comparison.plot(path)
    except ImportError as error:  # matplotlib is an extra
        print(f"\nNo picture: {error}")
    else:
        print(f"\nThe same as a picture: {path}")


if __name__ == "__main__":
    main()
