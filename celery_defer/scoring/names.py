"""What a name of a score, an experiment or a variant may be."""

from __future__ import annotations

from unicodedata import category

from celery_defer.text import safe_repr

__all__ = ["is_run", "plain", "problem_of"]

_MOST_BYTES = 128
# Control characters, lone surrogates, and the separators of lines and paragraphs.
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})
_LONGEST_RUN = 512
_SHOWN = 80


def problem_of(name: object) -> str | None:
    """Return what is wrong with a name, and what to do; None if it is good.

    A name is text of 1 to 128 bytes of UTF-8, with something in it that can be seen, without
    control characters and single quotes.
    """
    if not isinstance(name, str):
        return f"{safe_repr(name)[:_SHOWN]} is not text: give a name"
    if not any(letter.isprintable() and not letter.isspace() for letter in name):
        return f"{safe_repr(name)[:_SHOWN]} is blank: give a name"
    if bad := next((letter for letter in name if category(letter) in _REFUSED), None):
        return f"{safe_repr(name)[:_SHOWN]} has the character {bad!a}: leave it out"
    if "'" in name:
        return f"{safe_repr(name)[:_SHOWN]} has a single quote: leave it out"
    if (size := len(name.encode())) > _MOST_BYTES:
        return f"{name[:20]!r}… has {size} bytes: {_MOST_BYTES} are the most, so shorten it"
    return None


def is_run(id: object) -> bool:
    """Whether *id* can be that of a run: text of 1 to 512 bytes, without control characters."""
    return (
        isinstance(id, str)
        and not id.isspace()
        and not any(category(letter) in _REFUSED for letter in id)
        and 0 < len(id.encode()) <= _LONGEST_RUN
    )


def plain(text: str) -> str:
    """Return *text* as a ``str``: it may be of a subclass, such as an enum."""
    return str.__str__(text)
