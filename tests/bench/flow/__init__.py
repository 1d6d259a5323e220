"""``make bench-flow``: what limits cost, each figure a ratio within one run."""
