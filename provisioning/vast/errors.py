"""What Vast's answers mean, in our errors. Pure: a status, a code and a text go in, an error comes out."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from types import MappingProxyType

from provisioning.errors import (
    BadCredentials,
    BadOption,
    CloudError,
    MayHaveBeenCreated,
    NoCapacity,
    PermissionDenied,
    QuotaExceeded,
    Throttled,
    Unreachable,
)

__all__ = ["CODES", "Meaning", "Refusal", "create_error", "error_for", "meaning_of"]

BILLING = "https://cloud.vast.ai/billing/"
UNNAMED_PAUSE_S = 12.0
"""Searches are limited to ten a minute, which their refusals do not say."""
KEYS = "https://cloud.vast.ai/manage-keys/"


class Meaning(enum.Enum):
    """What follows from a refusal."""

    TAKEN = "the offer is gone; the next one may be there"
    GONE = "there is no such instance (any more)"
    MONEY = "the account has no credit or no card"
    CREDENTIALS = "no key, or a wrong one"
    PERMISSION = "the key may not do this"
    OPTION = "something that was asked for cannot be"
    THROTTLED = "too many calls"
    SERVER = "Vast's own trouble"
    UNKNOWN = "not known to this version"


CODES = MappingProxyType(
    {
        "no_such_ask": Meaning.TAKEN,
        "no_such_instance": Meaning.GONE,
        "not_found": Meaning.GONE,
        "missing_billing": Meaning.MONEY,
        "insufficient_credit": Meaning.MONEY,
        "auth_error": Meaning.CREDENTIALS,
        "invalid_price": Meaning.OPTION,
        "invalid_args": Meaning.OPTION,
        "invalid_request": Meaning.OPTION,
        "invalid_token": Meaning.OPTION,
        "label_too_long": Meaning.OPTION,
        "no_ssh_key_for_vm": Meaning.OPTION,
        "rate_limit_exceeded": Meaning.THROTTLED,
    }
)
_TEXTS = (
    ("no_such_ask", Meaning.TAKEN),
    ("no longer available", Meaning.TAKEN),
    ("too frequent", Meaning.THROTTLED),
    ("insufficient credit", Meaning.MONEY),
    ("lacks credit", Meaning.MONEY),
    ("invalid user key", Meaning.CREDENTIALS),
)
"""What some answers say in their text alone; these come before codes, which are often just ``invalid_args``."""
_THRESHOLD = re.compile(r"threshold=([\d.]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One answer that was not the wished one, in Vast's words."""

    call: str
    """``PUT asks``: method and endpoint."""
    status: int = 0
    """0 where there was no whole answer at all."""
    code: str = ""
    message: str = ""
    instance_id: str | None = None
    """A refused create can have made an instance all the same."""

    @property
    def words(self) -> str:
        """Both of what Vast says, on one line."""
        text = " ".join(self.message.split()) or "no reason given"
        code = self.code or (str(self.status) if self.status else "")
        return f"{text[:300]} ({code})" if code and code not in text else text[:300]


def meaning_of(refusal: Refusal) -> Meaning:
    """Read a refusal: its text, its code, and last its HTTP status."""
    if refusal.status == 429:
        return Meaning.THROTTLED
    if refusal.status >= 500 or refusal.status == 0:
        return Meaning.SERVER
    text = refusal.message.lower()
    for part, meaning in _TEXTS:
        if part in text:
            return meaning
    if refusal.status == 401:
        return Meaning.CREDENTIALS
    if refusal.status == 403:
        return Meaning.PERMISSION
    return CODES.get(refusal.code) or _by_status(refusal.status)


def error_for(refusal: Refusal) -> CloudError:
    """Return the error for a call that changes nothing, or may be repeated without harm."""
    meaning, text = meaning_of(refusal), f"vast: {refusal.call}: {refusal.words}"
    if meaning is Meaning.TAKEN:
        return NoCapacity(text, hint="the next offer may still be there")
    if meaning is Meaning.MONEY:
        return QuotaExceeded(text, hint=f"add credit at {BILLING}")
    if meaning is Meaning.CREDENTIALS:
        return BadCredentials(text, hint=f"make a key at {KEYS}, then export VAST_API_KEY=…")
    if meaning is Meaning.PERMISSION:
        return PermissionDenied(
            text, hint=f"the key needs user_read, instance_read and instance_write: {KEYS}"
        )
    if meaning is Meaning.THROTTLED:
        return Throttled(text, retry_after_s=_pause_s(refusal))
    if meaning is Meaning.SERVER:
        return Unreachable(text)
    if meaning is Meaning.OPTION:
        return BadOption(text)
    return CloudError(
        text, hint="see docs/providers/vast.md, and report this: it is not known to this version"
    )


def create_error(refusal: Refusal, *, token: str) -> CloudError:
    """Return the error for a failed create: typed where Vast said no, else `MayHaveBeenCreated`."""
    if meaning_of(refusal) in (Meaning.SERVER, Meaning.UNKNOWN, Meaning.GONE):
        return MayHaveBeenCreated(f"vast: {refusal.call}: {refusal.words}", token=token)
    return error_for(refusal)


def _by_status(status: int) -> Meaning:
    """Judge an answer by its status alone; a 400 without a code that we know says too little."""
    return {410: Meaning.TAKEN, 402: Meaning.MONEY, 404: Meaning.GONE}.get(status, Meaning.UNKNOWN)


def _pause_s(refusal: Refusal) -> float:
    """Vast's limits are a least pause between two calls; there is no Retry-After."""
    named = _THRESHOLD.search(refusal.message)
    return float(named[1]) + 0.5 if named else UNNAMED_PAUSE_S
