"""From a file to a tree of fields, before any of them is looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from launcher.job.problem import FieldError, nearest
from launcher.job.rules import came
from launcher.job.written import read_yaml

__all__ = ["tree_of_file"]


def tree_of_file(file: Path, *, known: Collection[str], also_meant: Collection[str]) -> Mapping[str, Any]:
    """Read the top of a job file, whose fields are ``known``; ``also_meant`` are refused later, with advice.

    Raises:
        FieldError: the file cannot be read, is no YAML, or is about something else altogether.
    """
    tree = read_yaml(_text_of(file))
    if tree is None:
        raise FieldError("the file is empty", hint="the shortest job is one line: run: python train.py")
    if not isinstance(tree, Mapping):
        raise FieldError(f"expected a mapping of fields such as `run: …`, came {came(tree)}")
    names = [str(name) for name in tree]
    strange = [name for name in names if name not in also_meant and nearest(name, known) is None]
    if not set(names) & set(known) and 2 * len(strange) >= len(names) > 0:
        raise FieldError(
            f"is no job file: {', '.join(strange[:3])} {'is' if len(strange) == 1 else 'are'} not of a job",
            hint="a job file says at least `run: …`",
        )
    return tree


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FieldError(
            "there is no such file",
            hint="name a job file that exists, or give a command: `launch [options] -- python train.py`",
        ) from None
    except IsADirectoryError:
        inside = file / "launch.yaml"
        hint = f"did you mean {inside}?" if inside.is_file() else f"`launch init {file}` writes one for it"
        raise FieldError("is a folder, not a job file", hint=hint) from None
    except UnicodeDecodeError as err:
        raise FieldError(f"is not UTF-8 text (byte {err.start})") from None
    except OSError as err:
        raise FieldError(f"cannot be read: {err.strerror}") from None
