"""A package index on loopback (PEP 503), with wheels as small as they come, and the real uv to resolve against it."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from uv import find_uv_bin

from launcher.job.requirements import normal_name


def wheel(folder: Path, name: str, version: str, *, requires: tuple[str, ...] = ()) -> Path:
    """A package with one module, whose ``VERSION`` is that."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {one}\n" for one in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return zipped(folder / f"{module}-{version}-py3-none-any.whl", f"{info}/RECORD", files)


def zipped(path: Path, record: str, files: dict[str, str] | dict[str, bytes]) -> Path:
    """A wheel of these files, with its record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(data)}\n")
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o100755 << 16  # what is a program keeps being one
            archive.writestr(member, data)
        archive.writestr(record, "".join(lines) + f"{record},,\n")
    return path


class Index(ThreadingHTTPServer):
    """``<url>/simple/`` lists the wheels of a folder; ``<url>/<folder>/simple/`` those of a folder in it."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), IndexHandler)
        self.folder = folder
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def wheels(self, inside: str, name: str) -> list[Path]:
        found = sorted((self.folder / inside).glob("*.whl"))
        return [path for path in found if normal_name(path.name.partition("-")[0]) == name]


class IndexHandler(BaseHTTPRequestHandler):
    server: Index

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        inside, simple, rest = self.path.lstrip("/").rpartition("simple/")
        found = self.server.wheels(inside, rest.strip("/")) if simple else []
        file = self.server.folder / unquote(self.path).lstrip("/")
        if found:
            links = (f'<a href="/{inside}{path.name}">{path.name}</a>' for path in found)
            self._answer(
                200,
                "text/html",
                "<!DOCTYPE html><html><body>{}</body></html>".format("".join(links)).encode(),
            )
        elif file.is_file():
            self._answer(200, "application/octet-stream", file.read_bytes())
        else:
            self._answer(404, "text/plain", b"no such package")

    def _answer(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Index]:
    folder.mkdir(exist_ok=True)
    with Index(folder) as index:
        thread = threading.Thread(target=index.serve_forever)
        thread.start()
        try:
            yield index
        finally:
            index.shutdown()
            thread.join()


def own_variables(folder: Path) -> dict[str, str]:
    """Variables with which uv and pip know this test's folder and nobody's configuration."""
    return {
        "UV_CACHE_DIR": str(folder / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_HTTP_TIMEOUT": "60",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_CACHE_DIR": str(folder / "pip-cache"),
    }


def uv(folder: Path, *words: str) -> str:
    """Run the real uv there."""
    passed = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    ended = subprocess.run(
        [find_uv_bin(), *words],
        cwd=folder,
        env={**passed, **own_variables(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
