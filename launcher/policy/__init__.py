"""Decisions about a run as functions over data: its states, its limits, and what happens next."""
