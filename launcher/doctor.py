"""What of all this works on this computer, and the line that repairs what does not. Makes LAUNCH_HOME, nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import LaunchError
from launcher.home import Home
from launcher.planning.preflight import Finding, Level, install_line
from launcher.remote.ssh.config import CONFIG_VARIABLE, config_file
from launcher.remote.ssh.rsync import is_rsync
from launcher.store import Store
from provisioning import CloudError, ProviderContext, Remarking
from provisioning.registry import names, provider

if TYPE_CHECKING:
    from provisioning import Provider

__all__ = ["findings"]

OLDEST_PYTHON = (3, 10)
TIMEOUT_S = 20.0
FREE_GIB = 5.0
USES = {
    "tmux": "runs on this computer need it",
    "git": "without it the working folder goes up whole, but for .launchignore",
    "ssh": "machines over SSH, and every cloud, need it",
    "ssh-keygen": "host keys are looked up with it",
}
REQUIRED = frozenset({"ssh", "ssh-keygen"})

Run = Callable[[list[str], Mapping[str, str]], "tuple[int, str]"]
"""A command and its environment, to exit code and output; code 127 when there is no such program."""


def findings(environ: Mapping[str, str] | None = None, *, run: Run | None = None) -> tuple[Finding, ...]:
    """Look at everything that launching depends on; takes a few seconds, longer where a cloud is asked.

    Never raises for what it finds: an error is a `Finding` with the line that repairs it.
    """
    env = dict(os.environ) if environ is None else dict(environ)
    ask = run or _run
    return (*_system(), *_tools(env), *_ssh(env, ask), *_rsync(env, ask), *_home(env), *_providers(env))


def _system() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.platform == "win32":
        yield _bad(
            "system", "native Windows is not supported", "install WSL2 and launch from there: wsl --install"
        )
    elif sys.version_info < OLDEST_PYTHON:
        yield _bad("system", f"Python {version} is too old", "install Python 3.10 or later")
    else:
        yield _good("system", f"Python {version} on {sys.platform}")


def _tools(environ: Mapping[str, str]) -> Iterator[Finding]:
    for tool, use in USES.items():
        found = shutil.which(tool, path=environ.get("PATH"))
        if found:
            yield _good("tools", f"{tool}: {found}")
        elif tool in REQUIRED:
            yield _bad("tools", f"{tool} is not installed: {use}", install_line("openssh-client"))
        else:
            yield _odd("tools", f"{tool} is not installed: {use}", install_line(tool))


def _ssh(environ: Mapping[str, str], run: Run) -> Iterator[Finding]:
    config = config_file(environ)
    if config is not None and not config.is_file():
        yield _bad("ssh", f"{CONFIG_VARIABLE} names {config}, which is not there", f"unset {CONFIG_VARIABLE}")
    elif shutil.which("ssh", path=environ.get("PATH")):
        file = ["-F", str(config)] if config is not None else []
        code, said = run(["ssh", "-G", *file, "--", "localhost"], environ)
        where = config or Path("~/.ssh/config")
        if code != 0:
            yield _bad("ssh", f"{where} has an error: {_last(said)}", f"repair {where}")
    keys = _private_keys(environ)
    in_agent = _keys_in_agent(environ, run)
    if keys or in_agent:
        words = f"{len(keys)} private key{'s' if len(keys) != 1 else ''} in ~/.ssh, {in_agent} in the agent"
        yield _good("ssh", words)
    else:
        yield _odd("ssh", "you have no SSH key, so --host works with no machine", "ssh-keygen -t ed25519")
    for key in keys:
        if key.stat().st_mode & 0o077:
            yield _odd("ssh", f"{key} can be read by others, and ssh refuses it", f"chmod 600 {key}")


def _private_keys(environ: Mapping[str, str]) -> list[Path]:
    folder = Path(environ.get("HOME", "~")).expanduser() / ".ssh"
    try:
        return sorted(
            path.with_suffix("") for path in folder.glob("id_*.pub") if path.with_suffix("").is_file()
        )
    except OSError:
        return []


def _keys_in_agent(environ: Mapping[str, str], run: Run) -> int:
    if not environ.get("SSH_AUTH_SOCK"):
        return 0
    code, said = run(["ssh-add", "-l"], environ)
    return len(said.splitlines()) if code == 0 else 0


def _rsync(environ: Mapping[str, str], run: Run) -> Iterator[Finding]:
    if not shutil.which("rsync", path=environ.get("PATH")):
        yield _odd("rsync", "rsync is not installed: files travel as a tar stream", install_line("rsync"))
        return
    _, said = run(["rsync", "--version"], environ)
    first = said.splitlines()[0] if said else "unknown"
    if is_rsync(said):
        yield _good("rsync", first)
    else:
        words = f"this rsync ({first}) lacks what is needed: files travel as a tar stream"
        yield _odd(
            "rsync", words, "brew install rsync" if sys.platform == "darwin" else install_line("rsync")
        )


def _home(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        home = Home.open(environ)
        runs = len(Store(home.database).live_runs())
    except LaunchError as error:
        yield Finding(check="home", level=Level.ERROR, message=error.message, fix=error.hint, error=error)
        return
    yield _good("home", f"{home.root} ({runs} live run{'s' if runs != 1 else ''})")
    free_gib = shutil.disk_usage(home.root).free / 2**30
    if free_gib < FREE_GIB:
        yield _odd("home", f"{free_gib:.1f} GiB are free at {home.root}", "make room, or set LAUNCH_HOME")


def _providers(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        home = Home.open(environ).root
    except LaunchError:
        return
    for name in names():
        if name == "ssh":
            continue  # there is nothing to ask without a host
        try:
            built: Provider = provider(name, ProviderContext(home=home, environ=environ))
            built.check()
            remarks = built.remarks() if isinstance(built, Remarking) else ()
        except CloudError as error:
            yield _odd(f"provider {name}", error.message, error.hint)
        else:
            yield _good(f"provider {name}", "can be used")
            for remark in remarks:
                level = Level.OK if remark.fix is None else Level.WARNING
                yield Finding(check=f"provider {name}", level=level, message=remark.text, fix=remark.fix)


def _run(argv: list[str], environ: Mapping[str, str]) -> tuple[int, str]:
    try:
        ended = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(environ),
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return 127, ""
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {TIMEOUT_S:g} s"
    return ended.returncode, ended.stdout or ended.stderr


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"


def _good(check: str, message: str) -> Finding:
    return Finding(check=check, level=Level.OK, message=message)


def _odd(check: str, message: str, fix: str | None) -> Finding:
    return Finding(check=check, level=Level.WARNING, message=message, fix=fix)


def _bad(check: str, message: str, fix: str) -> Finding:
    return Finding(check=check, level=Level.ERROR, message=message, fix=fix)
