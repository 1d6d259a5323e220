"""An experiment on workers that are killed, and what it shows beside what is true."""
