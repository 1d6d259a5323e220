"""The owner of a run: which message has it, in 18 bytes."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b, sha1
from secrets import token_urlsafe

from celery_defer.ids import RunId


def owner_of(task: str, token: str) -> str:
    """Return an owner for one delivery of the message of *task* that has this *token*.

    Each call returns another, so that a claim whose reply was lost can be repeated.
    """
    return f"{task_of_owner(task)}.{_digest(token, 4)}.{token_urlsafe(4)}"


def batch_id(kind: str, first: RunId) -> RunId:
    """Return the id of the batch of a kind whose first call has this run id."""
    # Not for secrecy: it is what Redis can compute in a script.
    digest = sha1(f"batch:{kind}:{first}".encode(), usedforsecurity=False).hexdigest()
    parts = (digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32])
    return RunId("-".join(parts))


def is_in_batch(owner: str) -> bool:
    """Whether the owner of a run is a batch: it has one dot."""
    return owner.count(".") == 1


def is_of_one_message(owner: str, other: str) -> bool:
    """Whether two owners are deliveries of one message."""
    return owner.rpartition(".")[0] == other.rpartition(".")[0]


def is_of_other_task(owner: str, other: str) -> bool:
    """Whether two owners name different tasks; one without a dot names none."""
    tasks = {each.partition(".")[0] for each in (owner, other) if "." in each}
    return len(tasks) > 1


@lru_cache(maxsize=1024)
def task_of_owner(task: str) -> str:
    """Return what stands for a task at the beginning of an owner."""
    return _digest(task, 3)


def _digest(text: str, size: int) -> str:
    # Without padding: 3 bytes are 4 characters, 4 bytes are 6.
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")
