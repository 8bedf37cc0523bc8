"""Who signs addresses of objects: the key of the credentials, or a service account on behalf of somebody without one."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from provisioning.errors import BadCredentials

__all__ = ["Signer", "signer_of"]

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Signer:
    """Credentials that can sign."""

    credentials: Any
    account: str
    asks: bool
    """A call is made for each signature, and Google's own keys sign, which it changes from time to time."""

    def __repr__(self) -> str:
        return f"Signer({self.account})"


def signer_of(credentials: Any, account: str | None, endpoint: str) -> Signer:
    """Return who signs; ``account`` wins, since the user has named it. ``endpoint``: of the IAM Credentials API.

    Raises:
        BadCredentials: these credentials have no key, and no account is named.
    """
    from google.auth.credentials import Signing

    if account is not None:
        return Signer(_through_iam(credentials, account, endpoint), account, asks=True)
    if isinstance(credentials, Signing) and getattr(credentials, "signer", None) is not None:
        from google.oauth2 import service_account

        has_key = isinstance(credentials, service_account.Credentials)
        return Signer(credentials, str(credentials.signer_email), asks=not has_key)
    raise BadCredentials(
        "gs: a user's login can read and write a bucket, and cannot sign addresses for machines",
        hint="name a service account that you may impersonate and that may use the bucket:"
        " provider_options: {gcp: {signer: NAME@PROJECT.iam.gserviceaccount.com}}; docs/providers/gcp.md",
    )


def _through_iam(credentials: Any, account: str, endpoint: str) -> Any:
    """Return credentials that let a service account sign, by the IAM Credentials API.

    google-auth has such a signer, whose address cannot be redirected.
    """
    from google.api_core import exceptions
    from google.auth.credentials import Signing
    from google.auth.transport.requests import AuthorizedSession

    class ThroughIam(Signing):
        @property
        def signer_email(self) -> str:
            return account

        @property
        def signer(self) -> Any:
            return self

        def sign_bytes(self, message: bytes) -> bytes:
            url = f"{endpoint}/v1/projects/-/serviceAccounts/{account}:signBlob"
            body = {"payload": base64.b64encode(message).decode("ascii")}
            with AuthorizedSession(credentials) as session:
                answer = session.post(url, json=body, timeout=TIMEOUT_S)
            if answer.status_code != 200:
                raise exceptions.from_http_response(answer)
            return base64.b64decode(answer.json()["signedBlob"])

    return ThroughIam()
