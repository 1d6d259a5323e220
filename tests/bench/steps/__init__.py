"""What steps and waits cost, each against a baseline of the same run; see ``__main__``."""
