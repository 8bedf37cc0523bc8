"""A service account's key file, as the console hands it out, with a key of this process's own."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

EMAIL = "launcher@a-project-of-tests.iam.gserviceaccount.com"


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def certificate() -> bytes:
    """What a server checks signatures with."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "launcher")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(_key().public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(_key(), hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def sign(message: bytes) -> bytes:
    return _key().sign(message, padding.PKCS1v15(), hashes.SHA256())


def private_pem() -> str:
    return (
        _key()
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        .decode()
    )


def write_key_file(folder: Path, token_uri: str, project: str) -> Path:
    """Write the file that ``GOOGLE_APPLICATION_CREDENTIALS`` names; return its path."""
    told = {
        "type": "service_account",
        "project_id": project,
        "private_key_id": "1",
        "private_key": private_pem(),
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": token_uri,
    }
    path = folder / "service-account.json"
    path.write_text(json.dumps(told))
    return path
