"""Amazon S3 behind `provisioning.storage`: listed and signed for here, read and written by machines."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from provisioning.aws.client import client_for
from provisioning.aws.options import Options
from provisioning.options import read_options
from provisioning.storage import LONGEST, Place, SignedUrl, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioning.provider import ProviderContext
    from provisioning.storage import Method

__all__ = ["S3Store"]

_OPERATIONS: dict[str, str] = {"GET": "get_object", "PUT": "put_object"}
SHORTEST = timedelta(seconds=60)
DELETED_AT_ONCE = 1000


class S3Store:
    """``s3://``, with the credentials of the provider ``aws``."""

    scheme: ClassVar[str] = "s3"

    def __init__(self, context: ProviderContext) -> None:
        options = read_options(Options, context.options, "provider_options.aws")
        self._client = client_for(context.environ, options.profile)
        self._clock = context.clock
        self._regions: dict[str, str] = {}

    def __repr__(self) -> str:
        return "S3Store()"

    def objects(self, place: Place) -> Sequence[StoredObject]:
        """Return all objects whose key begins with ``place.key``."""
        found: list[StoredObject] = []
        more: dict[str, Any] = {}
        region = self._region_of(place.bucket)
        while True:
            answer = self._client.call(
                "s3", region, "list_objects_v2", Bucket=place.bucket, Prefix=place.key, **more
            )
            found += [_object(item) for item in answer.get("Contents", ())]
            if not answer.get("IsTruncated"):
                return found
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def sign(self, method: Method, place: Place, *, lasts: timedelta) -> SignedUrl:
        """Return a URL for one object; temporary credentials end it when they end, whatever was asked for."""
        now = self._clock()
        lasts = max(SHORTEST, min(lasts, LONGEST))
        url = self._client.presign(
            "s3",
            self._region_of(place.bucket),
            _OPERATIONS[method],
            {"Bucket": place.bucket, "Key": place.key},
            lasts_s=int(lasts.total_seconds()),
        )
        ends_at = self._client.credentials_end_at()
        expires_at = now + lasts
        return SignedUrl(url=url, expires_at=min(expires_at, ends_at) if ends_at else expires_at)

    def delete(self, places: Iterable[Place]) -> None:
        """Delete objects, a thousand at a time."""
        by_bucket: dict[str, list[str]] = {}
        for place in places:
            by_bucket.setdefault(place.bucket, []).append(place.key)
        for bucket, keys in by_bucket.items():
            for start in range(0, len(keys), DELETED_AT_ONCE):
                named = [{"Key": key} for key in keys[start : start + DELETED_AT_ONCE]]
                self._client.call(
                    "s3",
                    self._region_of(bucket),
                    "delete_objects",
                    Bucket=bucket,
                    Delete={"Objects": named, "Quiet": True},
                )

    def _region_of(self, bucket: str) -> str:
        """Return where a bucket is: a signature for another region is worth nothing."""
        if bucket not in self._regions:
            self._regions[bucket] = self._client.bucket_region(bucket)
        return self._regions[bucket]


def _object(item: dict[str, Any]) -> StoredObject:
    return StoredObject(
        key=item["Key"], size_bytes=item["Size"], modified_at=item["LastModified"], etag=item.get("ETag")
    )
