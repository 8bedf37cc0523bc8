"""Everything that can be known before anything is rented, as findings. Costs nothing and changes nothing."""

from __future__ import annotations

import enum
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import quantities
from launcher.errors import DependencyMissing, HomeError, JobFileError, LaunchError
from launcher.job.files import missing_files, mount_above
from launcher.job.problem import FieldError
from launcher.job.support import require_supported
from launcher.job.units import Size
from launcher.job.variables import Variables, resolve_variables
from launcher.results import LATEST, results_bases
from launcher.snapshot import WARN_BYTES, Manifest, kept_out, survey

if TYPE_CHECKING:
    from launcher.job import Job

__all__ = ["Finding", "Level", "Preflight", "install_line", "looks_like_credentials", "preflight"]

WARN_FREE_BYTES = 5 * 2**30
REFUSE_FREE_BYTES = 100 * 2**20
"""Besides what is known to be needed: room for logs and the record."""


_CREDENTIALS = re.compile(
    r"(.*/)?(\.env(\.(?!example$|sample$|template$).*)?|\.netrc|kaggle\.json|id_(rsa|ed25519|ecdsa)"
    r"|.*\.pem|\.aws/credentials|(.*[_-])?service[_-]account.*\.json|application_default_credentials\.json)"
)
"""Files that hold keys by their usual names."""


def looks_like_credentials(path: str) -> bool:
    """Whether a file has one of the usual names of files that hold keys; ``path`` has slashes."""
    return _CREDENTIALS.fullmatch(path) is not None


class Level(str, enum.Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """What was looked at: ``job``, ``tools``, ``files``, ``code``, ``checkpoints``, ``variables``, ``results``, ``home``."""
    level: Level
    message: str
    fix: str | None = None
    """The line that repairs it."""
    error: LaunchError | None = None
    """For `Level.ERROR`: what to raise when the launch goes no further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """All findings, and what was found out on the way."""

    findings: tuple[Finding, ...]
    manifest: Manifest | None
    """None when there is no working folder to look at."""
    variables: Variables

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that forbid launching."""
        return tuple(finding for finding in self.findings if finding.level is Level.ERROR)

    def require_ok(self) -> None:
        """Raise the first error, if there is one."""
        for finding in self.findings:
            if finding.error is not None:
                raise finding.error


def preflight(
    job: Job,
    *,
    environ: Mapping[str, str],
    tools: tuple[str, ...] = ("tmux",),
    out: Path | None = None,
    home: Path | None = None,
    which: Callable[[str], str | None] = shutil.which,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> Preflight:
    """Look at everything at home that a run of ``job`` depends on. Never raises for what it finds.

    ``tools``: programs that must be on this computer; ``tmux`` when the job runs here.
    ``out``: where results shall lie instead; ``home``: ``LAUNCH_HOME``.
    """
    variables = resolve_variables(job, environ)
    manifest, code = _code(job, out, home)
    findings = (
        *_supported(job),
        *_tools(tools, which),
        *_files(job, manifest),
        *code,
        *_programs(job),
        *_variables(job, variables),
        *_results(job, out, manifest, free_bytes),
        *_home(home, manifest, free_bytes),
    )
    return Preflight(findings=findings, manifest=manifest, variables=variables)


def _ok(check: str, message: str) -> Finding:
    return Finding(check=check, level=Level.OK, message=message)


def _warning(check: str, message: str, fix: str | None = None) -> Finding:
    return Finding(check=check, level=Level.WARNING, message=message, fix=fix)


def _error(check: str, error: LaunchError) -> Finding:
    return Finding(check=check, level=Level.ERROR, message=error.message, fix=error.hint, error=error)


def _supported(job: Job) -> Iterator[Finding]:
    try:
        require_supported(job)
    except JobFileError as err:
        yield _error("job", err)


def _tools(tools: tuple[str, ...], which: Callable[[str], str | None]) -> Iterator[Finding]:
    for tool in tools:
        found = which(tool)
        if found is not None:
            yield _ok("tools", f"{tool}: {found}")
        else:
            yield _error(
                "tools", DependencyMissing(f"{tool} is not installed", hint=install_line(tool, which=which))
            )


def install_line(tool: str, *, which: Callable[[str], str | None] = shutil.which) -> str:
    """Return the line that installs a system package here."""
    managers = {
        "apt-get": "apt-get install -y",
        "dnf": "dnf install -y",
        "yum": "yum install -y",
        "pacman": "pacman -S --noconfirm",
        "zypper": "zypper install -y",
        "apk": "apk add",
        "brew": "brew install",
    }
    command = next((line for name, line in managers.items() if which(name)), None)
    if command is None:
        return f"install {tool} with this system's package manager"
    as_root = command.startswith("brew") or os.geteuid() == 0
    return f"{'' if as_root else 'sudo '}{command} {tool}"


def _files(job: Job, manifest: Manifest | None) -> Iterator[Finding]:
    missing = missing_files(job)
    yield from (_error("files", err) for err in missing)
    if manifest is None:
        return
    left = list(_required_but_left_out(job, manifest))
    yield from (_error("files", err) for err in left)
    named = len(job.requires) + len(job.file_mounts)
    if named and not missing and not left:
        yield _ok("files", f"{named} file{'s' * (named > 1)} named by the job: all there")


def _required_but_left_out(job: Job, manifest: Manifest) -> Iterator[FieldError]:
    """A file that is at home and would not be on the machine is as good as missing."""
    for position, path in enumerate(job.requires):
        here = (job.workdir_path / path).exists()
        if not here or mount_above(job, path) is not None or manifest.holds(path):
            continue
        reason = manifest.why_left_out(path) or "holds no file"
        yield FieldError(
            f"{path} is here and would not be on the machine: {reason}",
            path=("requires", position),
            hint=f"file_mounts: {{{path}: {path}}} takes it there",
        )


def _code(job: Job, out: Path | None, home: Path | None) -> tuple[Manifest | None, list[Finding]]:
    if not job.workdir_path.is_dir():
        return None, []  # said by the files' check
    try:
        manifest = survey(job.workdir_path, kept_out=kept_out(job, out=out, home=home))
    except JobFileError as err:
        return None, [_error("code", err)]
    size = quantities.size(manifest.size_bytes)
    found = [
        _ok("code", f"{manifest.files} files, {size} of {manifest.workdir} (listed by {manifest.listed_by})")
    ]
    if not manifest.entries:
        found = [_warning("code", f"{manifest.workdir} holds no file that would go up")]
    if manifest.size_bytes > WARN_BYTES:
        names = ", ".join(f"{entry.path} ({Size(entry.size_bytes)})" for entry in manifest.largest[:3])
        found.append(
            _warning(
                "code", f"{size} is much for code: {names}", "put data into file_mounts and .launchignore"
            )
        )
    credentials = [entry.path for entry in manifest.entries if looks_like_credentials(entry.path)]
    if credentials:
        found.append(
            _warning(
                "code",
                f"looks like credentials, and would go up: {', '.join(credentials[:3])}",
                "name it in .gitignore or .launchignore, and give the values as secrets",
            )
        )
    links = [item.path for item in manifest.left_out if item.reason.startswith("a link out")]
    if links:
        more = f" and {len(links) - 3} more" if len(links) > 3 else ""
        found.append(
            _warning(
                "code",
                f"links that point out of the working folder stay here: {', '.join(links[:3])}{more}",
                "name what they point to in file_mounts",
            )
        )
    return manifest, found


def _programs(job: Job) -> Iterator[Finding]:
    # Imported here: it reads programs, which an estimate need not know how to.
    from launcher.planning.programs import missing_programs, saved_elsewhere

    for path in missing_programs(job):
        words = f"{path} is started and is not in the working folder, {job.workdir_path}"
        yield _warning("files", words, "start launch in the program's folder, or name it in workdir")
    for one in saved_elsewhere(job):
        yield _warning("checkpoints", one.words, one.fix)


def _variables(job: Job, variables: Variables) -> Iterator[Finding]:
    yield from (_error("variables", err) for err in variables.missing)
    written = [name for name, value in job.secrets.items() if value is not None]
    if variables.secrets:
        names = ", ".join(sorted(variables.secrets))
        yield _ok("variables", f"secrets found: {names}")
    if written:
        yield _warning(
            "variables",
            f"secrets with a value in the job file or on the command line: {', '.join(written)}",
            f"leave the value out of the file ({written[0]}:) and export it instead",
        )


def _results(
    job: Job, out: Path | None, manifest: Manifest | None, free_bytes: Callable[[Path], int]
) -> Iterator[Finding]:
    for base in results_bases(job, out=out):
        problem = _why_not_writable(base)
        if problem:
            error = HomeError(
                f"results cannot be written to {base}: {problem}", hint="name another folder with --out"
            )
            yield _error("results", error)
            continue
        latest = base / LATEST
        if os.path.lexists(latest) and not latest.is_symlink():
            yield _warning(
                "results", f"{latest} is no link and stays as it is; the run's own folder is made beside it"
            )
        yield from _room("results", base, 0, free_bytes)


def _home(
    home: Path | None, manifest: Manifest | None, free_bytes: Callable[[Path], int]
) -> Iterator[Finding]:
    if home is None:
        return
    problem = _why_not_writable(home)
    if problem:
        error = HomeError(
            f"LAUNCH_HOME {home} cannot be used: {problem}",
            hint="set LAUNCH_HOME to a folder that you can write to",
        )
        yield _error("home", error)
        return
    yield from _room("home", home, manifest.size_bytes if manifest else 0, free_bytes)


def _room(check: str, folder: Path, needed: int, free_bytes: Callable[[Path], int]) -> Iterator[Finding]:
    free = free_bytes(_nearest_existing(folder))
    words = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < needed + REFUSE_FREE_BYTES:
        yield _error(
            check, HomeError(f"the disk is nearly full: {words}", hint="make room there, or use another disk")
        )
    elif free < needed + WARN_FREE_BYTES:
        yield _warning(check, f"only {words}; results and checkpoints have to fit")
    else:
        yield _ok(check, words)


def _why_not_writable(folder: Path) -> str | None:
    """Say why ``folder`` cannot be made or written; None when it can. Makes nothing."""
    existing = _nearest_existing(folder)
    if not existing.is_dir():
        return f"{existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} is not writable"
    return None


def _nearest_existing(path: Path) -> Path:
    return next(candidate for candidate in (path, *path.parents) if os.path.lexists(candidate))
