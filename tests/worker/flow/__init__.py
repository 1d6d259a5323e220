"""Limits on workers that are killed, as a witness sees it that asks nobody else."""
