"""``make bench``: what follow-up work costs, each figure a ratio within one run."""
