"""Small dictionaries and logits that say something, for the tests of this folder."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trainer.lm.build import BuildRequest, build
from trainer.lm.lexicon import write_dictionary
from trainer.lm.symbols import PHONE_LABELS
from trainer.phonemes import CLASS_NAMES

PHONES = list(PHONE_LABELS)
SILENCE = len(CLASS_NAMES) - 1
Dictionary = Mapping[str, Sequence[tuple[str, ...]]]

HOUSE: Dictionary = {
    "the": [("DH", "AH")], "there": [("DH", "EH", "R")], "their": [("DH", "EH", "R")], "cat": [("K", "AE", "T")],
    "cats": [("K", "AE", "T", "S")], "dog": [("D", "AO", "G")], "sat": [("S", "AE", "T")], "a": [("AH",)],
    "bookcase": [("B", "UH", "K", "K", "EY", "S")], "book": [("B", "UH", "K")], "case": [("K", "EY", "S")],
}  # fmt: skip
TEXT = "the cat sat there\ntheir cats sat\na dog sat there\nthe bookcase\na book case\ntheir dog\n"


def build_house(folder: Path, **options: object) -> Path:
    """A graph of a dozen words."""
    folder.mkdir(parents=True, exist_ok=True)
    write_dictionary(folder / "words.dict", HOUSE)
    (folder / "text.txt").write_text(TEXT)
    request = BuildRequest(corpora=(folder / "text.txt",), lexicon=folder / "words.dict", **options)  # type: ignore[arg-type]
    build(request, folder / "graph", force=True, say=lambda text: None)
    return folder / "graph"


def say(
    sentence: Sequence[str],
    dictionary: Dictionary,
    rng: np.random.Generator,
    *,
    noise: float = 1.0,
    blanks: bool = True,
) -> np.ndarray:
    """(T, 41) logits in the model's order, as of somebody who says the sentence."""
    classes: list[int] = []
    for word in sentence:
        previous = 0
        for phone in dictionary[word][0]:
            label = CLASS_NAMES.index(phone)
            classes += [0] * (
                int(rng.integers(0, 3)) if blanks and label != previous else int(label == previous)
            )
            classes += [label] * int(rng.integers(1, 3))
            previous = label
        classes += [SILENCE] * int(rng.integers(1, 3))
    logits = rng.normal(0, noise, (len(classes), len(CLASS_NAMES))).astype(np.float32)
    logits[np.arange(len(classes)), classes] += 6.0
    return logits


def invented_words(count: int, seed: int) -> Dictionary:
    rng = random.Random(seed)
    return {f"w{k}": [tuple(rng.choice(PHONES) for _ in range(rng.randint(2, 8)))] for k in range(count)}
