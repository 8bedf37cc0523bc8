"""A wheel of `trainer`, built from the files of this installation: the same bytes for the same sources, no network.

So the trainer on a machine is always the one that belongs to this launcher, released or not.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.abc import Traversable

__all__ = ["Wheel", "trainer_wheel"]

PACKAGE = "trainer"
DISTRIBUTION = "gpu_launch_trainer"
LONG_AGO = (1980, 1, 1, 0, 0, 0)
LEFT_OUT = frozenset({"__pycache__"})


@dataclass(frozen=True, slots=True)
class Wheel:
    """An installable file."""

    name: str
    """A valid wheel file name; it changes whenever a source does."""
    content: bytes

    @property
    def digest(self) -> str:
        """First digits of the SHA-256."""
        return hashlib.sha256(self.content).hexdigest()[:16]


@cache
def trainer_wheel() -> Wheel:
    """Build the wheel; it depends on nothing, so that it brings no other torch than the environment has."""
    sources = dict(sorted(_files(resources.files(PACKAGE), PACKAGE)))
    digest = hashlib.sha256()
    for name, content in sources.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    version = f"{metadata.version('gpu-launch')}+{digest.hexdigest()[:12]}"
    info = f"{DISTRIBUTION}-{version}.dist-info"
    described = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: gpu-launch\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\ntrainer = {PACKAGE}.cli:main\n",
    }
    files = {**sources, **{name: text.encode() for name, text in described.items()}}
    record = "".join(f"{name},{_record_digest(content)},{len(content)}\n" for name, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    return Wheel(f"{DISTRIBUTION}-{version}-py3-none-any.whl", _zipped(files))


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            if entry.name not in LEFT_OUT:
                yield from _files(entry, name)
        elif not entry.name.endswith((".pyc", ".pyo")):
            yield name, entry.read_bytes()


def _record_digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


def _zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name, LONG_AGO)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return packed.getvalue()
