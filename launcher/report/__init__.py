"""One page on one run: what was promised beside what it came to, its curves, and what happened."""
