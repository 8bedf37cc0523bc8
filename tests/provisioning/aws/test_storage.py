"""`provisioning.storage` over S3 on loopback, whose signatures are checked."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest

from provisioning import BadCredentials, BadOption, PermissionDenied, ProviderContext
from provisioning.storage import LONGEST, Place, provider_of, read_small, store_for
from tests.provisioning.aws.cloud import Ec2Cloud

HOUR = timedelta(hours=1)


@pytest.fixture
def context(cloud: Ec2Cloud, tmp_path: Path) -> ProviderContext:
    cloud.buckets.make("data-of-mine")
    return ProviderContext(home=tmp_path, environ=cloud.environ())


def test_places() -> None:
    place = Place.parse("s3://bucket/a b/c")
    assert (place.scheme, place.bucket, place.key, place.name) == ("s3", "bucket", "a b/c", "c")
    assert str(place.below("d", "e")) == "s3://bucket/a b/c/d/e"
    assert str(Place.parse("gs://bucket").below("x")) == "gs://bucket/x"
    assert Place.parse(str(place)) == place
    for wrong in ("bucket/key", "s3://", "s3:///key", "/local"):
        with pytest.raises(ValueError, match="not the address"):
            Place.parse(wrong)


def test_what_lies_below_a_prefix_is_listed_page_by_page(cloud: Ec2Cloud, context: ProviderContext) -> None:
    names = [f"set/{number:04d}.bin" for number in range(7)]
    cloud.buckets.page = 3
    for name in [*names, "settings", "other"]:
        cloud.buckets.put("data-of-mine", name, name.encode())
    store = store_for("s3", context)
    found = store.objects(Place("s3", "data-of-mine", "set/"))
    assert [item.key for item in found] == names
    assert {item.size_bytes for item in found} == {12}
    lists = [request for request in cloud.buckets.requests if "list-type" in request.query]
    assert len(lists) == 3
    assert found[0].etag == f'"{hashlib.md5(names[0].encode()).hexdigest()}"'
    assert store.objects(Place("s3", "data-of-mine", "nothing/")) == []


def test_a_signed_url_reads_and_writes_one_object_and_nothing_else(
    cloud: Ec2Cloud, context: ProviderContext
) -> None:
    store, place = store_for("s3", context), Place("s3", "data-of-mine", "out/a b+ü.bin")
    put = store.sign("PUT", place, lasts=HOUR)
    content = b"x" * 1000
    digest = {"Content-MD5": base64.b64encode(hashlib.md5(content).digest()).decode()}
    assert httpx.put(put.url, content=content[1:], headers=digest).status_code == 400, (
        "the store checks the digest"
    )
    assert httpx.put(put.url, content=content, headers=digest).status_code == 200
    assert cloud.buckets.content("data-of-mine", "out/a b+ü.bin") == content
    assert httpx.get(put.url).status_code == 403, "a permission to write is none to read"
    assert httpx.put(put.url.replace("a%20b", "c"), content=b"").status_code == 403
    got = store.sign("GET", place, lasts=HOUR)
    (listed,) = store.objects(place)
    piece = httpx.get(got.url, headers={"Range": "bytes=990-", "If-Match": str(listed.etag)})
    assert (piece.status_code, piece.content) == (206, b"x" * 10)
    assert read_small(store, place) == content
    assert read_small(store, place.below("none")) is None
    store.delete([place, place.below("none")])
    assert cloud.buckets.keys("data-of-mine") == []
    assert "Signature" not in repr(put)


def test_temporary_credentials_tell_their_end(cloud: Ec2Cloud, tmp_path: Path) -> None:
    """As ``aws sso login`` or a credential process leaves them."""
    ends_at = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(hours=2)
    told = (
        '{"Version": 1, "AccessKeyId": "AKIAINTHETESTONLY000", "SecretAccessKey": "secret-of-the-test-account",'
        f' "Expiration": "{ends_at.isoformat()}"}}'
    )
    (tmp_path / "config").write_text(f"[profile lent]\ncredential_process = echo '{told}'\n")
    environ = cloud.environ(AWS_CONFIG_FILE=str(tmp_path / "config"), AWS_PROFILE="lent")
    del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
    cloud.buckets.make("data-of-mine")
    store = store_for("s3", ProviderContext(home=tmp_path, environ=environ))
    place = Place("s3", "data-of-mine", "k")
    assert store.sign("GET", place, lasts=timedelta(days=1)).expires_at == ends_at
    assert store.sign("GET", place, lasts=HOUR).expires_at < ends_at


def test_nothing_is_signed_for_longer_than_a_store_allows(context: ProviderContext) -> None:
    signed = store_for("s3", context).sign("GET", Place("s3", "data-of-mine", "k"), lasts=timedelta(days=30))
    assert signed.expires_at - datetime.now(timezone.utc) <= LONGEST
    assert httpx.get(signed.url).status_code == 404


def test_a_bucket_elsewhere_is_signed_for_in_its_region(cloud: Ec2Cloud, context: ProviderContext) -> None:
    cloud.buckets.make("far-away", "us-west-2")
    signed = store_for("s3", context).sign("PUT", Place("s3", "far-away", "k"), lasts=HOUR)
    assert "us-west-2" in signed.url
    assert httpx.put(signed.url, content=b"x").status_code == 200


def test_what_is_refused_says_why(cloud: Ec2Cloud, context: ProviderContext, tmp_path: Path) -> None:
    store = store_for("s3", context)
    with pytest.raises(BadOption, match="no bucket nowhere-at-all") as refused:
        store.objects(Place("s3", "nowhere-at-all"))
    assert "aws s3 mb" in str(refused.value.hint)
    cloud.allowed = frozenset({"s3:GetObject"})
    with pytest.raises(PermissionDenied) as denied:
        store.objects(Place("s3", "data-of-mine"))
    assert "s3:ListBucket" in str(denied.value.hint)
    cloud.allowed, cloud.buckets.expired = None, True
    with pytest.raises(BadCredentials, match="ExpiredToken"):
        store.objects(Place("s3", "data-of-mine"))
    with pytest.raises(BadOption, match="ftp://"):
        store_for("ftp", context)
    nobody = ProviderContext(home=tmp_path, environ={**cloud.environ(), "AWS_ACCESS_KEY_ID": ""})
    with pytest.raises(BadCredentials):
        store_for("s3", nobody).objects(Place("s3", "data-of-mine"))


def test_each_store_belongs_to_a_provider() -> None:
    assert provider_of("s3") == "aws"
