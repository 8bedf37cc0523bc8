"""Lists what can be fetched from a run folder. The request is JSON on standard input.

``root`` is the folder to list, ``run`` the run folder that links must not leave, nor lead to the whole of it, and
``patterns`` choose. Optional: ``private`` (the folder in it that is launch's own: no link leads there),
``inputs`` (folders and links that hold data that was brought here: passed over), ``baseline`` (the record of the
placed code: only what is new or changed against it, without data and environments), ``cache`` (of digests),
``digests`` (false: none are made), ``most`` (files; more are an error). The answer is one JSON object::

    {"files": [[name, size, mtime_ns, sha256], …], "refused": [[name, why], …], "unmatched": [pattern, …]}

Names that are no UTF-8 pass as surrogate escapes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import sys
from typing import Any, Iterator

ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")
MACHINE_MADE = ("__pycache__", ".ipynb_checkpoints", ".egg-info")
LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What following a link says that has no end: nothing behind it can be lost, and waiting for it would cost rent."""


class TooMany(Exception):
    """More files match than anybody can have meant."""


def translate(pattern: str) -> str:
    """A regular expression for a shell pattern whose ``**`` spans folders; a leading dot is matched by a dot only."""
    if pattern.endswith("/"):
        pattern += "**"
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    expression = ""
    for at, part in enumerate(parts):
        last = at == len(parts) - 1
        if part == "**":
            expression += ".+" if last else "(?:[^/]+/)*"
        else:
            expression += translate_name(part) + ("" if last else "/")
    # A name without wildcards may be a folder's: then all below it is meant.
    return expression if re.search(r"[*?\[]", pattern) else expression + "(?:/.*)?"


def translate_name(part: str) -> str:
    """One path component: ``*``, ``?`` and ``[…]`` as the shell knows them."""
    expression = "" if part.startswith(".") else r"(?!\.)"
    at = 0
    while at < len(part):
        char = part[at]
        closing = part.find("]", at + 2) if char == "[" else -1
        if closing > 0:
            expression += translate_class(part[at + 1 : closing])
            at = closing
        else:
            expression += {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
        at += 1
    return expression


def translate_class(inside: str) -> str:
    """What stands between brackets; ranges and a leading negation mean what they mean in the shell."""
    negation = "^" if inside[0] in "!^" else ""
    members = re.sub(r"([\[\]\\^&~|])", r"\\\1", inside[len(negation) :])
    return "(?!/)[%s%s]" % (negation, members)


class Listing:
    """Walks the root and keeps what the patterns want."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.root: str = request["root"]
        self.run = os.path.realpath(request["run"])
        self.private = os.path.realpath(request["private"]) if "private" in request else None
        inputs = request.get("inputs") or []
        self.inputs = {os.path.realpath(path) for path in inputs} | set(inputs)
        self.patterns = {text: re.compile(translate(text), re.DOTALL) for text in request["patterns"]}
        self.matched: set[str] = set()
        self.only_changed = bool(request.get("baseline"))
        self.baseline = read_baseline(request.get("baseline"))
        self.most: int = request.get("most", sys.maxsize)
        self.files: list[tuple[str, str, os.stat_result]] = []
        self.refused: list[tuple[str, str]] = []

    def wants(self, name: str) -> bool:
        """Whether a pattern matches."""
        found = [text for text, expression in self.patterns.items() if expression.fullmatch(name)]
        self.matched.update(found)
        return bool(found)

    def walk(self, folder: str, prefix: str = "", above: tuple[tuple[int, int], ...] = ()) -> None:
        """Take what lies in ``folder``, whose name relative to the root is ``prefix``."""
        info = os.stat(folder)
        identity = (info.st_dev, info.st_ino)
        if identity in above:
            return
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        names = {entry.name for entry in entries}
        if self.only_changed and prefix and not names.isdisjoint(ENVIRONMENT_MARKS):
            return
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                self._take(entry, prefix + entry.name, (*above, identity))

    def _take(self, entry: os.DirEntry[str], name: str, above: tuple[tuple[int, int], ...]) -> None:
        if self._is_input(entry) or (self.only_changed and entry.name.endswith(MACHINE_MADE)):
            return
        if entry.is_symlink() and not self._is_inside(os.path.realpath(entry.path)):
            if self.wants(name) or self.wants(name + "/x"):
                leads_to = os.path.realpath(entry.path)
                why = "a link that leads out of the folders whose files come home, to %s"
                self.refused.append((name, why % leads_to))
            return
        try:
            info = entry.stat()
        except OSError as error:
            if entry.is_symlink() and error.errno in LEADS_NOWHERE:
                return
            raise
        if stat.S_ISDIR(info.st_mode):
            self.walk(entry.path, name + "/", above)
        elif self.baseline.get(name) == [info.st_size, info.st_mtime_ns] or not self.wants(name):
            return
        elif not stat.S_ISREG(info.st_mode):
            self.refused.append((name, "neither a file nor a folder"))
        else:
            self.files.append((name, entry.path, info))
            if len(self.files) > self.most:
                raise TooMany("more than %d files match" % self.most)

    def _is_input(self, entry: os.DirEntry[str]) -> bool:
        return entry.path in self.inputs or (entry.is_symlink() and self._leads_to_input(entry.path))

    def _leads_to_input(self, path: str) -> bool:
        leads_to = os.path.realpath(path)
        return any(leads_to == one or leads_to.startswith(one + os.sep) for one in self.inputs)

    def _is_inside(self, path: str) -> bool:
        if self.private is not None and (path + os.sep).startswith(self.private + os.sep):
            return False
        return path.startswith(self.run + os.sep)

    def unmatched(self) -> list[str]:
        """Patterns that no file matched."""
        return [text for text in self.patterns if text not in self.matched]


def read_baseline(path: str | None) -> dict[str, list[int]]:
    """name -> [size, mtime_ns] of the code as it was placed."""
    content = read_json(path)
    files = content.get("files") if isinstance(content, dict) else None
    return files if isinstance(files, dict) else {}


def read_json(path: str | None) -> Any:
    """The content, or None."""
    try:
        with open(path or os.devnull, "rb") as file:
            return json.loads(file.read())
    except (OSError, ValueError):
        return None


class Digests:
    """SHA-256 of files, remembered as long as path, size, time and inode stay what they were."""

    def __init__(self, cache: str | None) -> None:
        known = read_json(cache)
        self._cache = cache
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}
        self._changed = False

    def of(self, path: str, info: os.stat_result) -> str:
        """Hex digits; of the first ``st_size`` bytes, so that a log that grows is still a whole file."""
        identity = [info.st_size, info.st_mtime_ns, info.st_ino]
        known = self._known.get(path)
        if known and known[:3] == identity:
            return str(known[3])
        digest = hashlib.sha256()
        for block in blocks(path, info.st_size):
            digest.update(block)
        self._known[path] = [*identity, digest.hexdigest()]
        self._changed = True
        return digest.hexdigest()

    def keep(self) -> None:
        """Remember for the next time; a full disk only costs time."""
        if self._cache and self._changed:
            with contextlib.suppress(OSError):
                beside = "%s.%d.tmp" % (self._cache, os.getpid())
                with open(beside, "w", encoding="ascii") as file:
                    json.dump(self._known, file)
                os.replace(beside, self._cache)


def blocks(path: str, size: int) -> Iterator[bytes]:
    """The first ``size`` bytes of a file."""
    with open(path, "rb") as file:
        while size > 0:
            block = file.read(min(size, 1 << 20))
            if not block:
                return
            size -= len(block)
            yield block


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """List and hash."""
    listing = Listing(request)
    if not os.path.isdir(listing.root):
        return {"files": [], "refused": [], "unmatched": request["patterns"]}
    try:
        listing.walk(listing.root)
    except TooMany as error:
        return {"error": str(error)}
    digests = Digests(request.get("cache"))
    files = []
    for name, path, info in listing.files:
        try:
            digest = digests.of(path, info) if request.get("digests", True) else ""
        except FileNotFoundError:
            continue
        except OSError as error:
            listing.refused.append((name, "cannot be read: %s" % error.strerror))
            continue
        files.append([name, info.st_size, info.st_mtime_ns, digest])
    digests.keep()
    return {"files": files, "refused": listing.refused, "unmatched": listing.unmatched()}


def main(_: list[str]) -> int:
    """Read the request from standard input, answer on standard output."""
    try:
        content = answer(json.loads(sys.stdin.buffer.read()))
    except OSError as error:
        content = {"error": str(error)}
    sys.stdout.write(json.dumps(content) + "\n")
    return 1 if "error" in content else 0
