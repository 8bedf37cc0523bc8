"""The one place where the sequence lives: rent, place, follow, recover, bring home, end.

`orchestrator.Orchestrator.advance` moves one run on by one small step, from nothing but the record. It is called again and
again by the supervisor; killing the process between or within any two steps loses nothing.
"""
