"""What is measured of the command line, over many runs."""
