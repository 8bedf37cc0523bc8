"""`provisioning.storage` over Cloud Storage on loopback, whose signatures are checked."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from provisioning import BadCredentials, BadOption, PermissionDenied, ProviderContext, Unreachable
from provisioning.gcp.storage import LONGEST_BY_IAM
from provisioning.storage import LONGEST, ObjectStore, Place, provider_of, read_small, store_for
from tests.provisioning.gcp.buckets import SIGNER
from tests.provisioning.gcp.cloud import GceCloud
from tests.provisioning.gcp.keys import EMAIL

HOUR = timedelta(hours=1)
PLACE = Place("gs", "data-of-mine", "out/a b+ü.bin")


@pytest.fixture
def store(cloud: GceCloud, tmp_path: Path) -> ObjectStore:
    cloud.buckets.make("data-of-mine")
    return built(cloud, tmp_path)


def built(cloud: GceCloud, home: Path, environ: dict[str, str] | None = None, **options: Any) -> ObjectStore:
    context = ProviderContext(home=home, environ=environ or cloud.environ(), options=options)
    return store_for("gs", context)


def test_what_lies_below_a_prefix_is_listed_page_by_page(store: ObjectStore, cloud: GceCloud) -> None:
    names = [f"set/{number}.bin" for number in range(5)]
    for name in [*names, "settings"]:
        cloud.buckets.objects["data-of-mine"][name] = name.encode()
    found = store.objects(Place("gs", "data-of-mine", "set/"))
    assert [item.key for item in found] == names
    assert {item.size_bytes for item in found} == {9}
    assert found[0].etag == f'"{hashlib.md5(names[0].encode()).hexdigest()}"'
    assert store.objects(Place("gs", "data-of-mine", "nothing/")) == []


def test_a_signed_url_reads_and_writes_one_object_and_nothing_else(
    store: ObjectStore, cloud: GceCloud
) -> None:
    put = store.sign("PUT", PLACE, lasts=HOUR)
    content = b"x" * 1000
    digest = {"Content-MD5": base64.b64encode(hashlib.md5(content).digest()).decode()}
    assert httpx.put(put.url, content=content[1:], headers=digest).status_code == 400
    assert httpx.put(put.url, content=content, headers=digest).status_code == 200
    assert cloud.buckets.objects["data-of-mine"][PLACE.key] == content
    assert httpx.get(put.url).status_code == 403, "a permission to write is none to read"
    assert httpx.put(put.url.replace("a%20b", "c"), content=b"").status_code == 403
    got = store.sign("GET", PLACE, lasts=HOUR)
    (listed,) = store.objects(PLACE)
    piece = httpx.get(got.url, headers={"Range": "bytes=990-", "If-Match": str(listed.etag)})
    assert (piece.status_code, piece.content) == (206, b"x" * 10)
    assert read_small(store, PLACE) == content
    assert read_small(store, PLACE.below("none")) is None
    store.delete([PLACE, PLACE.below("none")])
    assert not cloud.buckets.objects["data-of-mine"]
    assert set(cloud.buckets.signed_by) == {EMAIL}
    assert "Signature" not in repr(put)


def test_nothing_is_signed_for_longer_than_the_store_allows(store: ObjectStore) -> None:
    signed = store.sign("GET", PLACE, lasts=timedelta(days=30))
    assert signed.expires_at - datetime.now(timezone.utc) <= LONGEST
    assert httpx.get(signed.url).status_code == 404


def user_login(folder: Path) -> str:
    """What ``gcloud auth application-default login`` writes."""
    path = folder / "application_default_credentials.json"
    path.write_text(
        json.dumps({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"})
    )
    return str(path)


def test_a_users_login_cannot_sign_and_is_told_what_helps(cloud: GceCloud, tmp_path: Path) -> None:
    environ = cloud.environ(
        GOOGLE_APPLICATION_CREDENTIALS=user_login(tmp_path), GOOGLE_CLOUD_PROJECT="a-project-of-tests"
    )
    with pytest.raises(BadCredentials, match="cannot sign") as refused:
        built(cloud, tmp_path, environ).sign("PUT", PLACE, lasts=HOUR)
    assert "provider_options: {gcp: {signer:" in str(refused.value.hint)


def test_a_service_account_signs_for_somebody_without_a_key(cloud: GceCloud, tmp_path: Path) -> None:
    """Here for what a machine of Google's is logged in with; a user's login is no different."""
    host = cloud.url.removeprefix("http://")
    environ = cloud.environ(GCE_METADATA_HOST=host)
    del environ["GOOGLE_APPLICATION_CREDENTIALS"], environ["NO_GCE_CHECK"]
    cloud.buckets.make("data-of-mine")
    store = built(cloud, tmp_path, environ, signer=SIGNER)
    put = store.sign("PUT", PLACE, lasts=timedelta(days=7))
    assert put.expires_at - datetime.now(timezone.utc) <= LONGEST_BY_IAM
    assert httpx.put(put.url, content=b"x").status_code == 200
    assert cloud.buckets.signed_by == [SIGNER]
    with pytest.raises(BadCredentials, match="cannot sign"):
        built(cloud, tmp_path, environ).sign("PUT", PLACE, lasts=HOUR)
    cloud.allowed = frozenset()
    with pytest.raises(PermissionDenied, match="signBlob") as refused:
        store.sign("PUT", PLACE, lasts=HOUR)
    assert "roles/iam.serviceAccountTokenCreator" in str(refused.value.hint)


def test_what_is_refused_says_why(store: ObjectStore, cloud: GceCloud, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="no bucket nowhere-at-all") as refused:
        store.objects(Place("gs", "nowhere-at-all"))
    assert "gcloud storage buckets create" in str(refused.value.hint)
    cloud.allowed = frozenset()
    with pytest.raises(PermissionDenied) as denied:
        store.objects(PLACE)
    assert "roles/storage.objectUser" in str(denied.value.hint)
    with pytest.raises(BadOption, match="signer"):
        built(cloud, tmp_path, signer="somebody")
    gone = cloud.environ(CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE="http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        built(cloud, tmp_path, gone).objects(PLACE)


def test_each_store_belongs_to_a_provider() -> None:
    assert provider_of("gs") == "gcp"
