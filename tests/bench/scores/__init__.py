"""What is measured of scores: writing one, and comparing the variants of many runs."""
