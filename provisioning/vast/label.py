"""The label of an instance: Vast's only tag. Everything that `get` has to know and Vast does not say is in it. Pure.

``launch:1:<token>:<home>:<owner>:<deadline>:<highest price>:<host key>:<flags>``. The machine reads its deadline and
its flags from it at every start, so that a machine that was stopped can be given another deadline.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, unquote

__all__ = ["LONGEST", "PREFIX", "Label"]

PREFIX = "launch:1:"
LONGEST = 256
"""What Vast takes when an instance is made."""
PARKED = "parked"
_FIELDS = 7
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ED25519 = "ssh-ed25519 "
_ED25519_HEAD = base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIA==")
"""What every public key of this kind begins with; 32 bytes follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one label says."""

    token: str
    home_id: str
    owner: str
    deadline: datetime
    max_usd_per_hour: float | None = None
    """What a bid may be raised to."""
    host_key: str | None = None
    """``ssh-ed25519 AAAA…``, as it was given to the machine."""
    parked: bool = False
    """The machine was stopped on purpose: if it starts by itself, it stops again."""

    @property
    def run_id(self) -> str:
        """The run of the token, ``<run>-<attempt>-<try>``."""
        return self.token.rsplit("-", 2)[0]

    def __str__(self) -> str:
        """Return the text; an owner who is too long for it is cut."""
        most = len(self.owner)
        while len(text := self._text(self.owner[:most])) > LONGEST and most:
            most -= 1
        return text

    def _text(self, owner: str) -> str:
        microseconds = (self.deadline.astimezone(timezone.utc) - _EPOCH) // timedelta(microseconds=1)
        price = "" if self.max_usd_per_hour is None else f"{self.max_usd_per_hour:.6g}"
        flags = PARKED if self.parked else ""
        fields = (self.token, self.home_id, owner, str(microseconds), price, _short(self.host_key), flags)
        return PREFIX + ":".join(quote(field, safe="@+=") for field in fields)

    @classmethod
    def parse(cls, text: object) -> Label | None:
        """Read a label; None for one that is not ours."""
        if not isinstance(text, str) or not text.startswith(PREFIX):
            return None
        fields = [unquote(field) for field in text.removeprefix(PREFIX).split(":")]
        if len(fields) != _FIELDS:
            return None
        token, home_id, owner, deadline, price, host_key, flags = fields
        try:
            return cls(
                token=token,
                home_id=home_id,
                owner=owner,
                deadline=_EPOCH + timedelta(microseconds=int(deadline)),
                max_usd_per_hour=float(price) if price else None,
                host_key=_long(host_key),
                parked=flags == PARKED,
            )
        except (ValueError, OverflowError):
            return None


def _short(host_key: str | None) -> str:
    """Leave out what all ed25519 keys have in common; keys of other kinds are too long for a label."""
    if not host_key or not host_key.startswith(_ED25519):
        return ""
    try:
        key = base64.b64decode(host_key.split()[1], validate=True)
    except (binascii.Error, ValueError):
        return ""
    if len(key) != len(_ED25519_HEAD) + 32 or not key.startswith(_ED25519_HEAD):
        return ""
    return base64.urlsafe_b64encode(key[len(_ED25519_HEAD) :]).decode().rstrip("=")


def _long(short: str) -> str | None:
    if not short:
        return None
    key = _ED25519_HEAD + base64.urlsafe_b64decode(short + "=" * (-len(short) % 4))
    return _ED25519 + base64.b64encode(key).decode()
