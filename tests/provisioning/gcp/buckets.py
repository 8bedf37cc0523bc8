"""Cloud Storage on loopback: lists and deletions by its JSON API, objects by signed addresses whose signature is checked.

Parameters of the JSON API are checked against Google's published description of storage v1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.provisioning.gcp.keys import EMAIL, certificate

SIGNER = "signer@a-project-of-tests.iam.gserviceaccount.com"


@dataclass
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Buckets:
    """What a test may look at and change."""

    objects: dict[str, dict[str, bytes]] = field(default_factory=dict)
    page_size: int = 2
    signed_by: list[str] = field(default_factory=list)

    def make(self, name: str) -> None:
        self.objects[name] = {}

    def api(self, verb: str, path: str, query: Mapping[str, str]) -> Reply | None:
        """Answer the JSON API; None for what is no call of it."""
        found = re.fullmatch(r"/storage/v1/b/([^/]+)/o(?:/(.+))?", path)
        if found is None:
            return None
        bucket, key = found[1], unquote(found[2] or "")
        method = {("GET", False): "list", ("DELETE", True): "delete"}[verb, bool(key)]
        unknown = set(query) - set(_parameters(method))
        if unknown:
            return _json(400, _error(400, "invalidParameter", f"Unknown: {sorted(unknown)}"))
        if bucket not in self.objects:
            return _json(404, _error(404, "notFound", "The specified bucket does not exist."))
        if method == "delete":
            if self.objects[bucket].pop(key, None) is None:
                return _json(404, _error(404, "notFound", f"No such object: {bucket}/{key}"))
            return Reply(204)
        return _json(200, self._page(bucket, query))

    def _page(self, bucket: str, query: Mapping[str, str]) -> dict[str, Any]:
        names = sorted(key for key in self.objects[bucket] if key.startswith(query.get("prefix", "")))
        start = int(query.get("pageToken") or 0)
        page, end = names[start : start + self.page_size], start + self.page_size
        more = {"nextPageToken": str(end)} if end < len(names) else {}
        return {
            "kind": "storage#objects",
            "items": [_described(bucket, n, self.objects[bucket][n]) for n in page],
            **more,
        }

    def signed(
        self, verb: str, path: str, query: Mapping[str, str], headers: Mapping[str, Any], body: bytes
    ) -> Reply:
        """Answer a signed address, as the XML API does."""
        refusal = self._refusal(verb, path, query, headers)
        if refusal:
            return Reply(
                403, f"<Error><Code>SignatureDoesNotMatch</Code><Details>{refusal}</Details></Error>".encode()
            )
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        known = self.objects.get(bucket)
        if known is None or (verb == "GET" and key not in known):
            return Reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if verb == "PUT":
            digest = headers.get("Content-MD5")
            if digest and digest != base64.b64encode(hashlib.md5(body).digest()).decode():
                return Reply(400, b"<Error><Code>BadDigest</Code></Error>")
            known[key] = body
            return Reply(200, headers={"ETag": _etag(body)})
        return _ranged(known[key], headers)

    def _refusal(self, verb: str, path: str, query: Mapping[str, str], headers: Mapping[str, Any]) -> str:
        """Why a signature is none, by the rules of the V4 process; empty when it is one."""
        told = dict(query)
        signature = bytes.fromhex(told.pop("X-Goog-Signature", ""))
        account, _, scope = told.get("X-Goog-Credential", "").partition("/")
        if account not in (EMAIL, SIGNER):
            return f"nobody knows {account}"
        made_at = datetime.strptime(told["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        lasts = timedelta(seconds=int(told["X-Goog-Expires"]))
        if lasts > timedelta(days=7) or datetime.now(timezone.utc) > made_at + lasts:
            return "expired, or for too long"
        names = told["X-Goog-SignedHeaders"].split(";")
        canonical = "\n".join(
            (
                verb,
                path,
                "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(told.items())),
                *(f"{name}:{headers[name]}" for name in names),
                "",
                ";".join(names),
                "UNSIGNED-PAYLOAD",
            )
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join(("GOOG4-RSA-SHA256", told["X-Goog-Date"], scope, digest))
        key = x509.load_pem_x509_certificate(certificate()).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        try:
            key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return "another signature"
        self.signed_by.append(account)
        return ""


@cache
def _parameters(method: str) -> frozenset[str]:
    path = resources.files("googleapiclient.discovery_cache.documents").joinpath("storage.v1.json")
    told = json.loads(path.read_text(encoding="utf-8"))
    known = told["resources"]["objects"]["methods"][method]["parameters"]
    return frozenset({*known, *told["parameters"]})


def _described(bucket: str, name: str, content: bytes) -> dict[str, Any]:
    return {
        "kind": "storage#object",
        "name": name,
        "bucket": bucket,
        "size": str(len(content)),
        "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
        "etag": "CAE=",
        "updated": "2026-11-27T12:00:00.000Z",
    }


def _ranged(content: bytes, headers: Mapping[str, Any]) -> Reply:
    if headers.get("If-Match") not in (None, _etag(content)):
        return Reply(412)
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("Range") or "")
    if found is None:
        return Reply(200, content, {"ETag": _etag(content)})
    start, end = int(found[1]), int(found[2] or len(content) - 1)
    told = f"bytes {start}-{min(end, len(content) - 1)}/{len(content)}"
    return Reply(206, content[start : end + 1], {"ETag": _etag(content), "Content-Range": told})


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def _json(status: int, told: Mapping[str, Any]) -> Reply:
    return Reply(status, json.dumps(told).encode(), {"Content-Type": "application/json"})


def _error(status: int, reason: str, message: str) -> dict[str, Any]:
    said = {"message": message, "domain": "global", "reason": reason}
    return {"error": {"code": status, "message": message, "errors": [said]}}
