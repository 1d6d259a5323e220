"""Hundreds of kills under load, and a count of what came of every deferred run."""
