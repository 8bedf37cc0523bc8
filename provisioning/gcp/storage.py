"""Cloud Storage behind `provisioning.storage`: listed and signed for here, read and written by machines.

To sign takes a key. A service account's key file has one; a user's login has none, and neither has a machine of Google's:
they sign through a service account that they may impersonate (``provider_options.gcp.signer``), one small call each.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar

from provisioning.errors import BadOption
from provisioning.gcp.client import client_for
from provisioning.gcp.errors import GONE, Refusal, error_for
from provisioning.gcp.options import Options
from provisioning.options import read_options
from provisioning.storage import LONGEST, Place, SignedUrl, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioning.provider import ProviderContext
    from provisioning.storage import Method

__all__ = ["GcsStore"]

LONGEST_BY_IAM = timedelta(hours=12)
"""Google promises so much for what was signed with keys that it manages itself."""
SHORTEST = timedelta(seconds=60)
_PERMISSIONS = {"GET": "storage.objects.get", "PUT": "storage.objects.create"}


class GcsStore:
    """``gs://``, with the credentials of the provider ``gcp``."""

    scheme: ClassVar[str] = "gs"

    def __init__(self, context: ProviderContext) -> None:
        options = read_options(Options, context.options, "provider_options.gcp")
        self._client = client_for(context.environ, options.project)
        self._signer = options.signer
        self._clock = context.clock

    def __repr__(self) -> str:
        return "GcsStore()"

    def objects(self, place: Place) -> Sequence[StoredObject]:
        """Return all objects whose key begins with ``place.key``."""

        def ask(storage: Any) -> list[StoredObject]:
            listed = storage.list_blobs(place.bucket, prefix=place.key, retry=None)
            return [_object(blob) for blob in listed]

        answer = self._client.store(ask, "storage.objects.list", place.bucket)
        if isinstance(answer, Refusal):
            raise _error(answer, place)
        return answer

    def sign(self, method: Method, place: Place, *, lasts: timedelta) -> SignedUrl:
        """Return a URL for one object; a call only where another account signs."""
        signer = self._client.signer(self._signer)
        longest = LONGEST_BY_IAM if signer.asks else LONGEST
        lasts = max(SHORTEST, min(lasts, longest))
        now = self._clock()

        def ask(storage: Any) -> str:
            blob = storage.bucket(place.bucket).blob(place.key)
            return str(
                blob.generate_signed_url(
                    version="v4",
                    method=method,
                    expiration=lasts,
                    credentials=signer.credentials,
                    api_access_endpoint=self._client.storage_endpoint,
                )
            )

        answer = self._client.store(ask, "iam.serviceAccounts.signBlob", place.bucket)
        if isinstance(answer, Refusal):
            raise _error(answer, place)
        return SignedUrl(url=answer, expires_at=now + lasts)

    def delete(self, places: Iterable[Place]) -> None:
        """Delete objects, one call each."""
        for place in places:

            def ask(storage: Any, place: Place = place) -> None:
                storage.bucket(place.bucket).blob(place.key).delete(retry=None)

            answer = self._client.store(ask, "storage.objects.delete", place.bucket)
            if isinstance(answer, Refusal) and answer.code not in GONE and answer.status != 404:
                raise _error(answer, place)


def _object(blob: Any) -> StoredObject:
    """An object that was put together from parts has no MD5, and no ``ETag`` that is known beforehand."""
    digest = base64.b64decode(blob.md5_hash).hex() if blob.md5_hash else None
    modified_at: datetime = blob.updated or datetime.fromtimestamp(0, timezone.utc)
    return StoredObject(
        key=blob.name,
        size_bytes=int(blob.size or 0),
        modified_at=modified_at.astimezone(timezone.utc),
        etag=f'"{digest}"' if digest else None,
    )


def _error(refusal: Refusal, place: Place) -> Exception:
    if refusal.status == 404:
        return BadOption(
            f"gs: there is no bucket {place.bucket}",
            hint=f"`gcloud storage buckets create gs://{place.bucket}`",
        )
    return error_for(refusal)
