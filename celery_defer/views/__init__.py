"""A run's record as plain rows, and who shows them: the command line, Flower."""
