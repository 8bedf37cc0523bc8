"""Names of the 41 CTC classes: blank, the 39 ARPAbet phonemes in alphabetical order, the word boundary."""

from __future__ import annotations

__all__ = ["CLASS_NAMES", "class_name"]

CLASS_NAMES = (
    "BLANK", "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH",
    "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y",
    "Z", "ZH", "|",
)  # fmt: skip


def class_name(number: int) -> str:
    """The name of a class; its number where it has none."""
    return CLASS_NAMES[number] if 0 <= number < len(CLASS_NAMES) else str(number)
