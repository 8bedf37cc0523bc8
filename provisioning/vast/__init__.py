"""Vast.ai: containers on machines of strangers, rented by their REST API."""
