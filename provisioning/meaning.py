"""What follows from a cloud's error code: the same few things everywhere, under other names in each cloud."""

from __future__ import annotations

import enum

__all__ = ["Meaning"]


class Meaning(enum.Enum):
    """What follows from an error code."""

    CAPACITY = "sold out here; the next zone may have it"
    QUOTA = "the account may not rent so much"
    CREDENTIALS = "not logged in, or with the wrong key"
    PERMISSION = "logged in, but not allowed"
    OPTION = "something that was asked for does not exist"
    THROTTLED = "too many calls"
    BUSY = "not in a state for this yet"
    SERVER = "the cloud's own trouble"
    REPLAYED = "the token was used before"
    UNKNOWN = "not known to this version"
