"""Values and exceptions as text, whatever their own methods do."""

from __future__ import annotations

import re

from celery_defer import guard
from celery_defer.errors import DeferError

# In characters: of an error, and of another value.
_LONGEST = 2_000
_LONGEST_VALUE = 200
# Between these, numbers are shown without a fraction.
_THOUSAND, _LARGEST_NUMBER = 1e3, 1e15
_CREDENTIALS = re.compile(r"(?<=://)[^@/\s]*@")


def safe_repr(value: object, most: int = _LONGEST_VALUE) -> str:
    """Return ``repr(value)`` of at most *most* characters; the name of its class if that raises."""
    return shortened(guard.attempt(lambda: repr(value), f"<{type(value).__qualname__}>"), most)


def masked(text: str) -> str:
    """Return *text* without the users and passwords of URLs in it."""
    return _CREDENTIALS.sub("**@", text)


def text_of(error: BaseException, most: int = _LONGEST) -> str:
    """Return an exception's class and text, of at most *most* characters."""
    name, text = type(error).__qualname__, safe_repr(error, 10 * _LONGEST)
    # The repr of some errors of redis-py does not say what happened; that of ours may have another
    # one in it, whose quotes would be escaped once more by each.
    if f"{type(error).__name__}(" not in text or isinstance(error, DeferError):
        text = guard.attempt(lambda: str(error)) or text
    whole = text if name in text else f"{name}: {text}"
    # A lone surrogate could not be stored.
    return shortened(whole, most).encode(errors="backslashreplace").decode()


def shortened(text: str, most: int) -> str:
    """Return the beginning of *text*, of at most *most* characters; it shows that it has more."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def three_digits(number: float) -> str:
    """Return three digits of a number, and all of them before the point: 0.123, 12,345, 2e+20."""
    return f"{number:,.0f}" if _THOUSAND <= abs(number) < _LARGEST_NUMBER else f"{number:.3g}"
