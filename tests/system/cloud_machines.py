"""Machines that a stand-in of a cloud rents out: each is an sshd with its own metadata service, found by its address."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests.system.ssh.server import Sshd


class MetadataService:
    """What a machine learns of itself, over HTTP; a subclass says the words of its cloud."""

    def __init__(self) -> None:
        self._server: ThreadingHTTPServer | None = None

    @property
    def host(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def answer(self, verb: str, path: str, headers: Mapping[str, Any]) -> tuple[int, str]:
        raise NotImplementedError

    def start(self) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._serve("PUT")

            def do_GET(self) -> None:
                self._serve("GET")

            def _serve(self, verb: str) -> None:
                status, text = service.answer(verb, self.path, self.headers)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


Service = TypeVar("Service", bound=MetadataService)


@dataclass
class Rented(Generic[Service]):
    """One machine that exists."""

    sshd: Sshd
    metadata: Service


@dataclass
class CloudMachines(Generic[Service]):
    """Starts and kills machines as the cloud rents and ends them; ``config`` tells ssh where their addresses are."""

    folder: Path
    rented: dict[str, Rented[Service]] = field(default_factory=dict)
    with_a_broken_gpu: int = 0
    """So many of the next machines have a GPU whose driver does not answer."""

    def __post_init__(self) -> None:
        self.config = self.folder / "ssh_config"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self._addresses: dict[str, int] = {}
        self._write_config()

    def boot(
        self,
        name: str,
        address: str,
        metadata: Service,
        *,
        environ: Mapping[str, str],
        login_keys: Sequence[str],
        host_key: tuple[str, str] | None = None,
    ) -> Sshd:
        """Start a machine whose metadata service has been started; ``login_keys`` and nobody else get in.

        ``host_key``: private and public half; a machine that is started again without one has the one from before.
        """
        folder = self.folder / name
        if folder.exists() and host_key is None:
            host_key = (folder / "host_key").read_text(), (folder / "host_key.pub").read_text().strip()
        for half in ("host_key", "host_key.pub", "client_key", "client_key.pub"):
            (folder / half).unlink(missing_ok=True)
        if self.with_a_broken_gpu:
            self.with_a_broken_gpu -= 1
            environ = {**environ, "PATH": f"{_broken_gpu(folder)}:{os.environ['PATH']}"}
        sshd = Sshd(folder, folder / "home", environ=environ)
        (folder / "authorized_keys").write_text("".join(f"{key}\n" for key in login_keys))
        if host_key is not None:
            (folder / "host_key").write_text(host_key[0])
            (folder / "host_key.pub").write_text(host_key[1] + "\n")
            sshd.host_key = " ".join(host_key[1].split()[:2])
        self._addresses[address] = sshd.port
        self._write_config()
        self.rented[name] = Rented(sshd.start(), metadata)
        return sshd

    def reboot(self, name: str) -> None:
        """Every process of the machine ends and sshd starts again; address, keys and disk are what they were."""
        sshd = self.rented[name].sshd
        sshd.destroy()
        sshd.start()

    def power_off(self, name: str) -> None:
        """No process of the machine is left; its files are."""
        if found := self.rented.pop(name, None):
            found.sshd.destroy()
            found.metadata.stop()

    def end_all(self) -> None:
        for name in list(self.rented):
            self.power_off(name)

    def _write_config(self) -> None:
        lines = [
            f"Host {address}\n  HostName 127.0.0.1\n  Port {port}\n"
            for address, port in self._addresses.items()
        ]
        beside = self.config.with_suffix(".new")
        beside.write_text("".join(lines))
        beside.replace(self.config)


def _broken_gpu(folder: Path) -> Path:
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho 'Unable to determine the device handle'\nexit 255\n")
    program.chmod(0o755)
    return program.parent
