"""Which way of moving files a machine over SSH gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.remote.ssh.rsync import Rsync, UncleanShell, is_rsync, local_rsync
from launcher.remote.ssh.streaming import Streaming

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path, PurePosixPath

    from launcher.remote.facts import Facts
    from launcher.remote.shell import OnProgress
    from launcher.remote.ssh.shell import SshShell
    from launcher.remote.tools import Tools
    from launcher.remote.transfer import Sent, Transfer

__all__ = ["transfer_for"]


def transfer_for(shell: SshShell, tools: Tools, facts: Facts) -> Transfer:
    """rsync where both ends have one that we can use, else a tar stream over our own connection."""
    streaming = Streaming(shell, tools)
    program = local_rsync()
    if program is None or not is_rsync(facts.rsync):
        return streaming
    return _RsyncIfItCan(Rsync(program, shell), streaming)


class _RsyncIfItCan:
    """A login that prints something before every command cannot be used by rsync; the stream does not mind."""

    def __init__(self, rsync: Rsync, otherwise: Streaming) -> None:
        self._rsync = rsync
        self._otherwise = otherwise

    def send(self, source: Path, target: PurePosixPath, on_progress: OnProgress) -> Sent:
        """See `launcher.remote.transfer.Transfer.send`."""
        try:
            return self._rsync.send(source, target, on_progress)
        except UncleanShell:
            return self._otherwise.send(source, target, on_progress)

    def bring(self, root: PurePosixPath, names: Sequence[str], dest: Path, on_progress: OnProgress) -> None:
        """See `launcher.remote.transfer.Transfer.bring`."""
        try:
            self._rsync.bring(root, names, dest, on_progress)
        except UncleanShell:
            self._otherwise.bring(root, names, dest, on_progress)
