"""Names of jobs and ids of runs: short and plain enough for every provider's names, labels and tokens."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

__all__ = ["MAX_NAME_LENGTH", "NAME", "derive_name", "name_of_command", "new_run_id"]

NAME = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
MAX_NAME_LENGTH = 23
"""28 characters for the whole id, less the dash and the four characters that make it unique."""
_FALLBACK = "job"
_SUFFIX_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without ``l``, ``o``, ``0`` and ``1``, which look alike."""
_INTERPRETERS = re.compile(r"python[\d.]*|bash|sh|zsh|uv|run|torchrun|accelerate|launch|poetry|env|time|nice")


def derive_name(text: str) -> str:
    """Make a job's name from a file's or folder's: lower case, dashes for the rest, at most 23 characters.

    Always returns a valid name; ``job`` when nothing of ``text`` is left.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_text).lstrip("0123456789-")
    return words[:MAX_NAME_LENGTH].rstrip("-") or _FALLBACK


def name_of_command(argv: Sequence[str]) -> str:
    """Name a job after its program: ``python train.py --lr 1`` is ``train``."""
    words = [word.replace("\\", "/").rstrip("/").rpartition("/")[2] for word in argv if word[:1] != "-"]
    for word in words:
        if not _INTERPRETERS.fullmatch(word):
            return derive_name(word.rpartition(".")[0] or word)
    return derive_name(words[0]) if words else _FALLBACK


def new_run_id(name: str, random: Random) -> str:
    """Return ``<name>-<4 chars>``: at most 28 characters of ``[a-z0-9-]``, starting with a letter.

    Two calls may return the same id; whoever records it decides whether it is free.
    """
    suffix = "".join(random.choice(_SUFFIX_ALPHABET) for _ in range(4))
    return f"{derive_name(name)}-{suffix}"
