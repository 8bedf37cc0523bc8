"""Object stores: listed and signed for at home, read and written by machines.

No credential of a cloud ever reaches a machine. What it gets are signed URLs, each good for one object, one method and
a limited time; the bytes go between the machine and the store and never through the connection at home.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, cast

from provisioning.errors import BadOption, MissingDependency, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioning.provider import ProviderContext

__all__ = [
    "LONGEST",
    "SCHEMES",
    "Method",
    "ObjectStore",
    "Place",
    "SignedUrl",
    "StoredObject",
    "provider_of",
    "read_small",
    "store_for",
]

LONGEST = timedelta(days=7)
"""No store signs for longer."""
SMALL_BYTES = 16 << 20
TIMEOUT_S = 30.0

Method = Literal["GET", "PUT"]


@dataclass(frozen=True, slots=True)
class Place:
    """An object, or the beginning of the names of many: ``s3://bucket/some/key``."""

    scheme: str
    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read ``scheme://bucket/key``; `ValueError` for anything else."""
        found = re.fullmatch(r"([a-z][a-z0-9]*)://([^/\s]+)(?:/(.*))?", text, re.DOTALL)
        if found is None:
            raise ValueError(f"not the address of an object: {text!r}")
        return cls(found[1], found[2], found[3] or "")

    def below(self, *names: str) -> Place:
        """Return a place in the folder that this one names."""
        return replace(self, key="/".join((self.key.rstrip("/"), *names)).lstrip("/"))

    def at(self, key: str) -> Place:
        """Return the place of another key of the same bucket."""
        return replace(self, key=key)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object as its store lists it."""

    key: str
    size_bytes: int
    modified_at: datetime
    etag: str | None = None
    """What the store answers as ``ETag`` for these very bytes, with its quotes: a download in pieces asks for it with
    ``If-Match``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedUrl:
    """Permission to read or write one object. Whoever has it can use it: it is kept like a secret."""

    url: str = field(repr=False)
    expires_at: datetime
    """The earlier of what was asked for and the end of the credentials that signed it."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Part of the signature: to be sent as they are."""


class ObjectStore(Protocol):
    """The object store of one cloud. Built as ``Class(context)``, without a call; raises only `CloudError`s.

    ``context.options`` are those of the store's provider (`provider_of`): both use the same account.
    """

    scheme: ClassVar[str]

    def objects(self, place: Place) -> Sequence[StoredObject]:
        """Return all objects whose key begins with ``place.key``, by key; empty when there are none.

        Raises:
            BadOption: there is no such bucket.
            BadCredentials, PermissionDenied, Transient.
        """

    def sign(self, method: Method, place: Place, *, lasts: timedelta) -> SignedUrl:
        """Return permission for one object; usually without a call. ``lasts`` is cut to what the store allows.

        A ``PUT`` replaces the whole object, accepts a ``Content-MD5`` header that was not signed, and refuses bytes
        that do not match it. A ``GET`` accepts ``Range`` and ``If-Match``.
        """

    def delete(self, places: Iterable[Place]) -> None:
        """Delete objects of one bucket; those that are not there are no error."""


class StoreClass(Protocol):
    """What `store_for` loads."""

    def __call__(self, context: ProviderContext) -> ObjectStore:
        """Build it; raises `BadOption` for options that it does not know."""


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    target: str
    provider: str
    """Of the same cloud: whose options and credentials it uses, and to whose machines traffic costs nothing."""
    extra: str


_STORES = {
    "s3": _BuiltIn("provisioning.aws.storage:S3Store", provider="aws", extra="aws"),
    "gs": _BuiltIn("provisioning.gcp.storage:GcsStore", provider="gcp", extra="gcp"),
}
SCHEMES = tuple(_STORES)


def provider_of(scheme: str) -> str:
    """Return the provider whose account a store belongs to: ``aws`` for ``s3``."""
    return _STORES[scheme].provider


def store_for(scheme: str, context: ProviderContext) -> ObjectStore:
    """Build the store behind ``scheme``; makes no call.

    Raises:
        BadOption: no store has this scheme.
        MissingDependency: its SDK is not installed.
    """
    built_in = _STORES.get(scheme)
    if built_in is None:
        raise BadOption(f"{scheme}:// is no object store of this release; there are {', '.join(SCHEMES)}")
    module, _, name = built_in.target.partition(":")
    try:
        return cast("StoreClass", getattr(import_module(module), name))(context)
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{scheme}:// needs {error.name}, which is not installed",
            hint=f"pip install 'gpu-launch[{built_in.extra}]'",
        ) from error


def read_small(store: ObjectStore, place: Place, *, most_bytes: int = SMALL_BYTES) -> bytes | None:
    """Return the bytes of a small object; None when it is not there.

    Raises:
        Unreachable: no answer, one that was cut short, or more than ``most_bytes``.
    """
    import httpx  # a slow import that only this call needs

    signed = store.sign("GET", place, lasts=timedelta(minutes=5))
    try:
        with httpx.stream("GET", signed.url, headers=dict(signed.headers), timeout=TIMEOUT_S) as answer:
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
            content = b""
            for block in answer.iter_bytes():
                content += block
                if len(content) > most_bytes:
                    raise Unreachable(f"{place} has more than {most_bytes} bytes")
            return content
    except httpx.HTTPStatusError as error:
        raise Unreachable(f"{place} answers {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise Unreachable(f"{place} cannot be read: {type(error).__name__}") from None
