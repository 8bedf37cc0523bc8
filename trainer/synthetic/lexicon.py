"""How words are pronounced: our own table, or any dictionary in the form of CMUdict."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.synthetic.errors import BadLexicon
from trainer.synthetic.phonemes import CLASS_IDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Lexicon", "Pronunciation", "builtin_lexicon", "read_lexicon"]

Pronunciation = tuple[str, ...]

BUILTIN = Path(__file__).with_name("lexicon.txt")

_ENTRY = re.compile(r"(?P<word>\S+?)(?:\((?P<n>\d+)\))?\s+(?P<phonemes>\S.*)")


@dataclass(frozen=True)
class Lexicon:
    """Pronunciations by lower-case word, the usual one first."""

    pronunciations: Mapping[str, tuple[Pronunciation, ...]]
    source: Path
    sha256: str
    """Digest of the file, so that two data sets can be told apart by it."""

    def __contains__(self, word: str) -> bool:
        return word in self.pronunciations

    def __len__(self) -> int:
        return len(self.pronunciations)

    def of(self, word: str) -> tuple[Pronunciation, ...]:
        """Every pronunciation of `word`; raises `BadLexicon` when there is none."""
        try:
            return self.pronunciations[word]
        except KeyError:
            self.require([word])
            raise

    def require(self, words: Iterable[str]) -> None:
        """Raise `BadLexicon`, naming some of them, when any of `words` has no pronunciation."""
        missing = sorted({word for word in words if word not in self.pronunciations})
        if missing:
            shown = ", ".join(missing[:8]) + (", …" if len(missing) > 8 else "")
            raise BadLexicon(
                f"{self.source} has no pronunciation for {len(missing)} of the words needed: {shown}",
                hint="use a complete CMUdict file, or leave --cmudict out to use the built-in table",
            )


def _parse_phonemes(text: str, where: str) -> Pronunciation:
    # CMUdict marks stress by a digit and comments by '#'; the decoder's classes know neither.
    phonemes = tuple(phoneme.rstrip("012") for phoneme in text.partition("#")[0].split())
    for phoneme in phonemes:
        if phoneme not in CLASS_IDS:
            raise BadLexicon(
                f"{where}: {phoneme!r} is not one of the 39 ARPAbet phonemes",
                hint="the file must look like CMUdict: WORD  P H OW N IY M Z",
            )
    if not phonemes:
        raise BadLexicon(f"{where}: a word without phonemes")
    return phonemes


def parse_lexicon(text: str, source: Path) -> dict[str, tuple[Pronunciation, ...]]:
    """Parse ``WORD  P H ON`` and ``WORD(2)  P H ON`` lines; ``;;;`` and ``#`` begin comments."""
    table: dict[str, tuple[Pronunciation, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith((";;;", "#")):
            continue
        entry = _ENTRY.fullmatch(line.strip())
        if entry is None:
            raise BadLexicon(
                f"{source}, line {number}: not a dictionary entry: {line.strip()[:60]!r}",
                hint="the file must look like CMUdict: WORD  P H OW N IY M Z",
            )
        phonemes = _parse_phonemes(entry["phonemes"], f"{source}, line {number}")
        word = entry["word"].lower()
        known = table.get(word, ())
        if phonemes not in known:
            table[word] = (*known, phonemes)
    return table


def read_lexicon(path: Path) -> Lexicon:
    """Read a dictionary in CMUdict's form, with or without stress digits.

    Costs about half a second for the full CMUdict. Raises `BadLexicon` when the file cannot be read or parsed.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadLexicon(
            f"cannot read the dictionary {path}: {error.strerror}", hint="check --cmudict"
        ) from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # older releases of CMUdict
    table = parse_lexicon(text, path)
    if not table:
        raise BadLexicon(f"the dictionary {path} holds no words", hint="check --cmudict")
    return Lexicon(table, path, hashlib.sha256(raw).hexdigest())


@functools.cache
def builtin_lexicon() -> Lexicon:
    """About a thousand everyday words, written for this project."""
    return read_lexicon(BUILTIN)
