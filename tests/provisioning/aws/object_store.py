"""S3 on loopback: moto's, behind a check of every signature, of its life, of the permission and of ``Content-MD5``."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from tests.provisioning.aws.answers import Answer

Forward = Callable[[dict[str, Any]], "tuple[int, list[tuple[str, str]], bytes]"]


@dataclass
class Request:
    """One call of S3, and who signed it."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    is_presigned: bool = False
    region: str = ""

    @property
    def bucket(self) -> str:
        return self.path.lstrip("/").partition("/")[0]

    @property
    def key(self) -> str:
        return unquote(self.path.lstrip("/").partition("/")[2])

    @property
    def permission(self) -> str:
        """What IAM is asked for."""
        if self.method == "POST" and "delete" in self.query:
            return "s3:DeleteObject"
        by_method = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
        return f"s3:{by_method[self.method] if self.key else 'ListBucket'}"


@dataclass
class Buckets:
    """What a test may look at and change."""

    requests: list[Request] = field(default_factory=list)
    fail: Callable[[Request], Answer | None] | None = None
    """A fault of the test's own; None lets the request pass."""
    page: int | None = None
    """So many objects a page of a list, instead of a thousand."""
    expired: bool = False
    """Every signature is too old."""

    @property
    def _backend(self) -> Any:
        return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def make(self, name: str, region: str = "us-east-1") -> None:
        self._backend.create_bucket(name, region)

    def names(self) -> list[str]:
        return sorted(self._backend.buckets)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self._backend.put_object(bucket, key, content)

    def keys(self, bucket: str) -> list[str]:
        return sorted(self._backend.buckets[bucket].keys)

    def content(self, bucket: str, key: str) -> bytes:
        return bytes(self._backend.get_object(bucket, key).value)

    def reset(self) -> None:
        for name in list(self._backend.buckets):
            for key in self.keys(name):
                self._backend.delete_object(name, key)
            self._backend.delete_bucket(name)
        self.requests.clear()
        self.fail, self.page, self.expired = None, None, False

    def answer(
        self,
        environ: dict[str, Any],
        body: bytes,
        *,
        keys: Mapping[str, str],
        allowed: frozenset[str] | None,
        forward: Forward,
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Check a request as S3 does, and let moto answer it."""
        request = _read(environ, body)
        self.requests.append(request)
        why = "ExpiredToken" if self.expired else _why_unsigned(request, keys)
        if why is None and allowed is not None and request.permission not in allowed:
            why = "AccessDenied"
        if why is None and request.method == "PUT" and _digest_differs(request):
            return _refusal(400, "BadDigest")
        if why is not None:
            return _refusal(403, why)
        if self.fail is not None and (said := self.fail(request)):
            return said.status, [("Content-Type", said.content_type)], said.body.encode()
        if self.page is not None and not request.key and "list-type" in request.query:
            environ = {**environ, "QUERY_STRING": f"{environ['QUERY_STRING']}&max-keys={self.page}"}
        return forward({**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))})


def is_for_s3(environ: Mapping[str, Any]) -> bool:
    scope = environ.get("HTTP_AUTHORIZATION", "") + unquote(environ.get("QUERY_STRING", ""))
    return "/s3/aws4_request" in scope


def _read(environ: Mapping[str, Any], body: bytes) -> Request:
    raw = str(environ.get("RAW_URI") or environ["REQUEST_URI"])
    path, _, query = raw.partition("?")
    headers = {
        name[5:].replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    if environ.get("CONTENT_LENGTH"):
        headers["content-length"] = environ["CONTENT_LENGTH"]
    asked = dict(parse_qsl(query, keep_blank_values=True))
    return Request(
        environ["REQUEST_METHOD"], path, asked, headers, body, is_presigned="X-Amz-Signature" in asked
    )


def _why_unsigned(request: Request, keys: Mapping[str, str]) -> str | None:
    """Signature version 4, as its specification has it: over method, path, query, headers, and content where signed."""
    if request.is_presigned:
        credential, signed = request.query["X-Amz-Credential"], request.query["X-Amz-SignedHeaders"]
        signature, at = request.query["X-Amz-Signature"], request.query["X-Amz-Date"]
        payload = "UNSIGNED-PAYLOAD"
        made_at = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        lasts = timedelta(seconds=int(request.query["X-Amz-Expires"]))
        if lasts > timedelta(days=7):
            return "AuthorizationQueryParametersError"
        if datetime.now(timezone.utc) > made_at + lasts:
            return "AccessDenied"
    else:
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=(.+), ?SignedHeaders=(.+), ?Signature=(.+)",
            request.headers["authorization"],
        )
        assert found
        credential, signed, signature = found.groups()
        at, payload = request.headers["x-amz-date"], request.headers["x-amz-content-sha256"]
        if payload != "UNSIGNED-PAYLOAD" and payload != hashlib.sha256(request.body).hexdigest():
            return "XAmzContentSHA256Mismatch"
    key_id, date, request.region, service, end = credential.split("/")
    if key_id not in keys:
        return "InvalidAccessKeyId"
    unsigned = [
        name for name in request.headers if name.startswith("x-amz-") and name not in signed.split(";")
    ]
    if unsigned:
        return "AccessDenied"
    asked = sorted((k, v) for k, v in request.query.items() if k != "X-Amz-Signature")
    canonical = "\n".join(
        (
            request.method,
            request.path,
            "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in asked),
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in signed.split(";")),
            "",
            signed,
            payload,
        )
    )
    scope = "/".join((date, request.region, service, end))
    text = "\n".join(("AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    secret = f"AWS4{keys[key_id]}".encode()
    for part in (date, request.region, service, end):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    wanted = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    return None if hmac.compare_digest(wanted, signature) else "SignatureDoesNotMatch"


def _digest_differs(request: Request) -> bool:
    told = request.headers.get("content-md5")
    return told is not None and base64.b64decode(told) != hashlib.md5(request.body).digest()


def _refusal(status: int, code: str) -> tuple[int, list[tuple[str, str]], bytes]:
    body = f"<Error><Code>{code}</Code><Message>as S3 would</Message></Error>".encode()
    return status, [("Content-Type", "application/xml"), ("x-amz-bucket-region", "us-east-1")], body


def sent(requests: Iterable[Request], method: str) -> list[str]:
    """Keys of the requests of one method, in order."""
    return [request.key for request in requests if request.method == method]
