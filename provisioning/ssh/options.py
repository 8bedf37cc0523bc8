"""``provider_options.ssh``, and how a host is written."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Host", "Options"]

HOST = re.compile(
    r"(?:(?P<user>[^@\s/]+)@)?(?P<name>\[[0-9A-Fa-f:.%\w]+\]|[^@\s:/\[\]]+)(?::(?P<port>\d{1,5}))?"
)
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``provider_options.ssh``."""

    host: str | None = None
    """``[user@]host[:port]``; the host may be an alias of ``~/.ssh/config``."""
    host_key: str | None = None
    """``SHA256:…``, the fingerprint of the host's key, for a host that known_hosts does not have yet."""
    work_root: str | None = None
    """The absolute folder on the host for runs and caches; ``~/.launch`` there by default."""
    share_gpu: bool = False
    """Let this run use GPUs that another run holds."""

    def __post_init__(self) -> None:
        if self.host is not None:
            Host.parse(self.host)
        if self.host_key is not None and not FINGERPRINT.fullmatch(self.host_key):
            raise ValueError(
                f"host_key: {self.host_key!r} is not of the form SHA256:… that ssh-keygen -l prints"
            )
        if self.work_root is not None and not self.work_root.startswith("/"):
            raise ValueError(f"work_root: {self.work_root!r} is not an absolute path")


@dataclass(frozen=True, slots=True)
class Host:
    """Who to log in as and where; None where the configuration of SSH is to say it."""

    name: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Host:
        """Read ``[user@]host[:port]``, an IPv6 address in brackets; `ValueError` for anything else."""
        found = HOST.fullmatch(text)
        port = int(found["port"]) if found and found["port"] else None
        if found is None or text.startswith("-") or found["name"].startswith("-") or (port or 1) > 65535:
            raise ValueError(f"host: {text!r} is not of the form [user@]host[:port]")
        return cls(found["name"].strip("[]"), found["user"], port)

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        user = f"{self.user}@" if self.user else ""
        return f"{user}{name}" + (f":{self.port}" if self.port else "")
