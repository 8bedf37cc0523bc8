"""Patterns of a ``.launchignore`` file: the language of ``.gitignore``, without needing git."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["IgnorePatterns"]


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    negated: bool
    folders_only: bool


@dataclass(frozen=True, slots=True)
class IgnorePatterns:
    """What a file of patterns leaves out. The last pattern that matches wins; ``!`` takes back in."""

    patterns: tuple[_Pattern, ...] = ()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> IgnorePatterns:
        """Read the lines of a pattern file; lines that are no valid pattern match nothing, as with git."""
        parsed = (_parse(line.rstrip("\r\n")) for line in lines)
        return cls(tuple(pattern for pattern in parsed if pattern is not None))

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Is this one path (relative, ``/`` between its parts) named by the patterns? Its parents are not looked at."""
        for pattern in reversed(self.patterns):
            if pattern.folders_only and not is_folder:
                continue
            if pattern.regex.fullmatch(path):
                return not pattern.negated
        return False


def _parse(line: str) -> _Pattern | None:
    text = _without_trailing_spaces(line)
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text[1:] if negated else text
    folders_only = text.endswith("/")
    text = text[:-1] if folders_only else text
    anchored = "/" in text
    text = text.removeprefix("/")
    if not text:
        return None
    body = _regex(text)
    if body is None:
        return None
    prefix = "" if anchored else "(?:.*/)?"
    return _Pattern(re.compile(prefix + body, re.DOTALL), negated, folders_only)


def _without_trailing_spaces(line: str) -> str:
    stripped = line.rstrip(" ")
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    return stripped + " " if backslashes % 2 and len(stripped) < len(line) else stripped


def _regex(text: str) -> str | None:
    """Translate one pattern; None where it is none (an unfinished class or escape)."""
    out, position = "", 0
    while position < len(text):
        rest = text[position:]
        at_start = position == 0 or text[position - 1] == "/"
        if at_start and rest.startswith("**/"):
            out, position = out + "(?:.*/)?", position + 3
        elif at_start and rest == "**":
            out, position = out + ".+", position + 2
        elif rest[0] == "*":
            run = len(rest) - len(rest.lstrip("*"))
            out, position = out + "[^/]*", position + run
        elif rest[0] == "?":
            out, position = out + "[^/]", position + 1
        elif rest[0] == "[":
            found = _class(rest)
            if found is None:
                return None
            out, position = out + found[0], position + found[1]
        elif rest[0] == "\\":
            if len(rest) == 1:
                return None
            out, position = out + re.escape(rest[1]), position + 2
        else:
            out, position = out + re.escape(rest[0]), position + 1
    return out


def _class(text: str) -> tuple[str, int] | None:
    """Translate ``[a-z]`` at the start of ``text``: (regular expression, characters read)."""
    match = re.match(r"\[([!^]?)(\]?(?:\\.|\[:[a-z]+:\]|[^\]\\])*)\]", text, re.DOTALL)
    if match is None:
        return None
    inside = ""
    for token in re.finditer(r"\[:([a-z]+):\]|\\(.)|(.)", match[2], re.DOTALL):
        named, escaped, char = token.groups()
        if named:
            inside += _NAMED_CLASSES.get(named, "")
        elif escaped:
            inside += re.escape(escaped)
        else:
            inside += char if char == "-" else re.escape(char)
    try:
        re.compile(f"[{inside}]")
    except re.error:
        return None
    return (f"(?!/)[{'^' if match[1] else ''}{inside}]", match.end())


_NAMED_CLASSES = {
    "alpha": "A-Za-z",
    "digit": "0-9",
    "alnum": "A-Za-z0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "space": r"\s",
    "punct": r"!-/:-@\[-`{-~",
    "xdigit": "0-9A-Fa-f",
}
