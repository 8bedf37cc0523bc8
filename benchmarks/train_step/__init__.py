"""One training step, ours beside the official trainer's; see ``README.md`` in this folder."""
