"""Machines over SSH: whom to connect to, whose key to expect, one connection, and a `Shell` on top of it."""
