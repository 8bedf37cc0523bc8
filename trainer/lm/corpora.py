"""Which corpus a block's sentences were read from: the table that comes with the competition's data."""

from __future__ import annotations

import csv
import re
from pathlib import Path

__all__ = ["DESCRIPTION", "Corpora"]

DESCRIPTION = "t15_copyTaskData_description.csv"
_DATE = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})")


class Corpora:
    """Looks blocks up; knows nothing when there is no table, which is no error."""

    def __init__(self, data_dir: Path) -> None:
        self._by_block: dict[tuple[str, int], str] = {}
        for folder in (data_dir, data_dir.parent):
            if (folder / DESCRIPTION).is_file():
                self._read(folder / DESCRIPTION)
                break

    def __bool__(self) -> bool:
        return bool(self._by_block)

    def of(self, session: str, block_num: int) -> str:
        """Name of the corpus; empty when it is not known. Sessions are named ``t15.YYYY.MM.DD``."""
        date = _DATE.search(session)
        return self._by_block.get(("-".join(date.groups()), block_num), "") if date else ""

    def _read(self, path: Path) -> None:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                block = (row.get("Block number") or "").strip()
                if block.isdigit():
                    self._by_block[(row.get("Date") or "").strip(), int(block)] = (
                        row.get("Corpus") or ""
                    ).strip()
