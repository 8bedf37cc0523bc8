"""One command over one channel: feed it, hear it, notice when nobody is there any more."""

from __future__ import annotations

import contextlib
import selectors
import threading
import time
from typing import TYPE_CHECKING

from launcher.errors import MachineUnreachable
from launcher.events import keep_going
from launcher.remote.shell import LISTEN_EVERY_S
from launcher.remote.ssh.connection import is_alive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import paramiko

    from launcher.events import Listen

__all__ = ["exchange"]

READ_BYTES = 1 << 18
SILENCE_S = 15.0
"""After so long without a byte the other side is asked whether it is still there."""
ANSWER_S = 15.0
HELD_OPEN_S = 0.5
"""A command has ended and its output has not: a process that it left behind holds it, as csh makes them do."""


def exchange(
    channel: paramiko.Channel,
    line: str,
    stdin: Iterable[bytes],
    *,
    on_stdout: Callable[[bytes], None],
    on_stderr: Callable[[bytes], None],
    deadline: Callable[[], float],
    silence_s: float = SILENCE_S,
    listen: Listen = keep_going,
    awaits_stdin: bool = True,
) -> int:
    """Run ``line`` to its end and return its exit code. What ``listen`` raises closes the channel and is passed on.

    ``awaits_stdin``: ``stdin`` is let go of when this returns; without it, one that waits for more is left waiting.

    Raises:
        TimeoutError: it has not ended at ``deadline()`` (of `time.monotonic`), which is asked again and again.
        MachineUnreachable: the connection was lost; whether the command ran is not known.
    """
    from paramiko import SSHException

    feeding: _Feeding | None = None
    try:
        with _limited(channel, ANSWER_S):
            channel.exec_command(line)
        feeding = _Feeding(channel, stdin)
        _hear(channel, on_stdout, on_stderr, deadline, silence_s, listen)
    except _NotTheConnection as ours:
        raise ours.error from None
    except (SSHException, EOFError, OSError) as error:
        if isinstance(error, TimeoutError):
            _drop_if_dead(channel)
            raise
        raise _lost(error) from error
    finally:
        ended, exit_code = channel.exit_status_ready(), channel.exit_status
        _close(channel)
        if feeding is not None and awaits_stdin:
            feeding.join()  # whoever repeats this reads the same input again
    feeding.raise_error()
    if not ended or exit_code < 0:
        raise _lost(None)
    return exit_code


def _close(channel: paramiko.Channel) -> None:
    with contextlib.suppress(EOFError, OSError):
        channel.close()


class _NotTheConnection(Exception):
    """Whoever takes the output could not, or whoever is listened to said stop."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _Feeding:
    """Standard input, from a thread: a command that does not read must not keep us from hearing it."""

    def __init__(self, channel: paramiko.Channel, stdin: Iterable[bytes]) -> None:
        self._channel = channel
        self._stdin = stdin
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for block in self._stdin:
                self._channel.sendall(block)
            self._channel.shutdown_write()
        except (EOFError, OSError):
            pass  # it ended without reading everything, or the connection is gone: its exit code tells
        except BaseException as error:  # handed over to the thread that waits
            self._error = error
            _close(self._channel)

    def join(self) -> None:
        """Wait until the input is let go of; the channel is closed by then."""
        self._thread.join()

    def raise_error(self) -> None:
        """Raise what reading the input raised."""
        if self._error is not None:
            raise self._error


def _hear(
    channel: paramiko.Channel,
    on_stdout: Callable[[bytes], None],
    on_stderr: Callable[[bytes], None],
    deadline: Callable[[], float],
    silence_s: float,
    listen: Listen,
) -> None:
    """Until the command has ended and all it said is here."""
    heard_at = listened_at = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(channel.fileno(), selectors.EVENT_READ)
        while True:
            if time.monotonic() - listened_at >= LISTEN_EVERY_S:
                _ours(listen)
                listened_at = time.monotonic()
            if _drain(channel, on_stdout, on_stderr):
                heard_at = time.monotonic()
                continue
            if channel.eof_received and channel.exit_status_ready() and not _has_more(channel):
                return
            if channel.closed and not _has_more(channel):
                return
            now = time.monotonic()
            if channel.exit_status_ready() and now - heard_at >= HELD_OPEN_S:
                # Answers come in order: what was on its way has arrived before the answer.
                _require_life(channel, ANSWER_S)
                if not _has_more(channel):
                    return
                continue
            left_s = deadline() - now
            if left_s <= 0:
                raise TimeoutError
            if now - heard_at >= silence_s:
                _require_life(channel, min(ANSWER_S, silence_s))
                heard_at = time.monotonic()
            if channel.eof_received:
                # The pipe stays readable at the end of output: wait for the exit code itself.
                channel.status_event.wait(min(0.5, left_s))
            else:
                # An exit code wakes nobody: ask for it now and then, once nothing has come for a while.
                quiet_s = HELD_OPEN_S if now - heard_at < 10 * HELD_OPEN_S else LISTEN_EVERY_S
                selector.select(min(quiet_s, silence_s, left_s))


def _require_life(channel: paramiko.Channel, within_s: float) -> None:
    transport = _transport(channel)
    if not is_alive(transport, within_s):
        transport.close()  # first of all: whoever waits for room to send waits for ever otherwise
        raise EOFError("the machine has fallen silent")


def _drop_if_dead(channel: paramiko.Channel) -> None:
    with contextlib.suppress(EOFError):
        _require_life(channel, ANSWER_S)


@contextlib.contextmanager
def _limited(channel: paramiko.Channel, within_s: float) -> Iterator[None]:
    """End the connection when the machine does not answer a request; paramiko would wait for ever."""
    timer = threading.Timer(within_s, _transport(channel).close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _drain(
    channel: paramiko.Channel, on_stdout: Callable[[bytes], None], on_stderr: Callable[[bytes], None]
) -> bool:
    heard = False
    while channel.recv_ready():
        _ours(on_stdout, channel.recv(READ_BYTES))
        heard = True
    while channel.recv_stderr_ready():
        _ours(on_stderr, channel.recv_stderr(READ_BYTES))
        heard = True
    return heard


def _ours(call: Callable[..., object], *arguments: object) -> None:
    """Call somebody of ours, whose errors must not be taken for those of the connection."""
    try:
        call(*arguments)
    except Exception as error:
        raise _NotTheConnection(error) from error


def _has_more(channel: paramiko.Channel) -> bool:
    return channel.recv_ready() or channel.recv_stderr_ready()


def _transport(channel: paramiko.Channel) -> paramiko.Transport:
    transport = channel.get_transport()
    assert transport is not None
    return transport


def _lost(error: BaseException | None) -> MachineUnreachable:
    words = f": {error}" if error is not None and str(error) else ""
    return MachineUnreachable(
        f"the connection was lost while a command ran{words}",
        left_behind="whether the command came to its end is not known; what runs on the machine goes on",
    )
