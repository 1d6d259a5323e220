"""Which variant a key takes, by its hash: the same one in every process and on every Python.

Only the standard library is used here, so that a test can run this file on any Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import accumulate

__all__ = ["point_of", "variant_of"]


def variant_of(key: str, weights: Mapping[str, float]) -> str:
    """Return the variant that *key* takes.

    The variants, sorted by name, share the numbers from 0 to 1 by their weights; the key takes the
    variant in whose part its point lies.
    """
    names = sorted(weights)
    *edges, total = accumulate(weights[name] for name in names)
    point = point_of(key)
    return names[sum(edge / total <= point for edge in edges)]


def point_of(key: str) -> float:
    """Return the point of a key, from 0 up to, but not including, 1."""
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
    return int(digest[:8], 16) / 2**32
