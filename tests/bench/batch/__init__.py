"""``make bench-batch``: calls in batches, beside as many runs."""
