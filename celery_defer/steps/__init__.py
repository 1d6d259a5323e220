"""Named pieces of a run, each done once, and waits that hold no worker."""
