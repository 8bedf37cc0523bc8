"""The far side: shells on machines, tmux, the watchdog, and moving files there and back."""
