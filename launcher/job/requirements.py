"""Requirements files of pip, read as far as a launch has to understand them. Pure.

Which packages are named and how, which other files belong to it, whether it chooses its own index, and whether it
means something that lies on this computer. What the packages need in turn is the resolver's business.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "Line",
    "chooses_an_index",
    "included",
    "is_of_this_computer",
    "lines_of",
    "normal_name",
    "with_included",
]

_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?\s*(.*)", re.DOTALL)
_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDES = ("-r", "--requirement", "-c", "--constraint")
_INDEX_OPTIONS = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index")
_EDITABLE = ("-e", "--editable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One logical line: an option, or a package."""

    text: str
    """Without comments, continued lines joined."""
    option: str = ""
    """``-r``, ``--index-url``; empty for a package."""
    value: str = ""
    """Of the option."""
    name: str = ""
    """Of the package, normalised; empty when it is given by a path or an address alone."""
    specifier: str = ""
    """``>=2.4,<3``, without spaces; or ``@ https://…``."""
    hashes: tuple[str, ...] = ()

    @property
    def is_pinned(self) -> bool:
        """It names exactly one version, or one address."""
        if self.specifier.startswith("@"):
            return True
        return re.fullmatch(r"={2,3}[^*,;]+", self.specifier) is not None


def normal_name(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lines_of(text: str) -> Iterator[Line]:
    """Yield the logical lines that are not empty."""
    for joined in re.sub(r"\\\r?\n", " ", text).splitlines():
        plain = _COMMENT.sub("", joined).strip()
        if plain:
            yield _option(plain) if plain.startswith("-") else _package(plain)


def _option(text: str) -> Line:
    option, _, value = re.sub(r"^(--?[A-Za-z-]+)[=\s]\s*", r"\1 ", text).partition(" ")
    if not text.startswith("--") and len(option) > 2:  # -rbase.txt
        option, value = option[:2], option[2:]
    return Line(text=text, option=option, value=value.strip().strip("'\""))


def _package(text: str) -> Line:
    words = text.split()
    hashes = tuple(word.removeprefix("--hash=") for word in words if word.startswith("--hash="))
    bare = re.split(r"\s--", text, maxsplit=1)[0].strip()
    found = _NAME.fullmatch(bare)
    if found is None or bare.startswith((".", "/", "~")) or re.match(r"[\w+]+:", bare) or "/" in found[1]:
        return Line(text=text, hashes=hashes)
    rest = found[3].strip()
    if rest.startswith("/"):  # a path without a dot before it
        return Line(text=text, hashes=hashes)
    if rest.startswith("@"):
        return Line(text=text, name=normal_name(found[1]), specifier="@ " + rest[1:].strip(), hashes=hashes)
    specifier = re.sub(r"[\s()]", "", rest.partition(";")[0])
    return Line(text=text, name=normal_name(found[1]), specifier=specifier, hashes=hashes)


def included(text: str) -> tuple[str, ...]:
    """Return the paths that its ``-r`` and ``-c`` name, as they stand there; addresses are not among them."""
    found = (line.value for line in lines_of(text) if line.option in _INCLUDES)
    return tuple(dict.fromkeys(path for path in found if "://" not in path))


def with_included(text: str, names: dict[str, str]) -> str:
    """Return the text with the files of ``-r`` and ``-c`` named as ``names`` says; everything else as it was."""
    written = []
    for raw in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = next(iter(lines_of(raw)), None)
        if line is not None and line.option in _INCLUDES and line.value in names:
            raw = f"{line.option} {shlex.quote(names[line.value])}"
        written.append(raw)
    return "\n".join(written) + "\n"


def chooses_an_index(text: str) -> bool:
    """Whether it says itself where packages come from."""
    return any(line.option in _INDEX_OPTIONS for line in lines_of(text))


def is_of_this_computer(line: Line) -> bool:
    """Whether a line means a folder or a file instead of a package of an index."""
    if line.option in _EDITABLE:
        return "://" not in line.value
    if line.option:
        return False
    target = line.specifier.removeprefix("@").strip() if line.name else line.text
    if line.name and not line.specifier.startswith("@"):
        return False
    return target.startswith("file:") or "://" not in target
