"""What the vocal tract does for each of the decoder's classes.

`ONSETS` and `OFFSETS` place each phoneme in a space of articulators, so that
sounds that people confuse lie close together (P and B differ in voicing alone) and diphthongs and affricates move
while they last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.phonemes import CLASS_NAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ARTICULATORS",
    "BLANK",
    "CLASS_IDS",
    "DURATIONS",
    "N_CLASSES",
    "OFFSETS",
    "ONSETS",
    "PHONEMES",
    "SILENCE",
]

PHONEMES = CLASS_NAMES[1:-1]
"""ARPAbet without stress, in class order; ``PHONEMES[0]`` is class 1."""

BLANK = 0
SILENCE = len(PHONEMES) + 1
"""The class between words and after the last one (`` | `` in listings)."""

N_CLASSES = SILENCE + 1

CLASS_IDS: dict[str, int] = {phoneme: i for i, phoneme in enumerate(PHONEMES, start=1)}
"""Class of each phoneme."""

ARTICULATORS: tuple[str, ...] = (
    "lip_opening", "lip_rounding", "jaw_opening", "tip_height", "tip_front", "body_height", "body_front",
    "sides_lowered", "velum_lowered", "voicing", "breath", "friction", "closure", "curled", "tense",
)  # fmt: skip
"""Axes of articulator space, each roughly -1 to 1, 0 at rest."""

# One row a phoneme: relative duration | articulators that leave their rest position, as letter and tenths.
# L lip opening, O rounding, J jaw, T tip height, F tip front, H body height, B body front, S sides, N velum,
# V voicing, A breath, R friction, C closure, U curled, E tense. A second group is the end of a sound that moves.
_TABLE = """
AA 1.25 L+7 J+9 H-9 B-6 V+8 E+2
AE 1.25 L+8 J+8 H-7 B+7 V+8
AH 0.95 L+4 J+4 H-1 B-1 V+8 E-5
AO 1.20 L+3 O+6 J+6 H-5 B-8 V+8 E+2
AW 1.45 L+8 J+8 H-8 B-2 V+8 > L+1 O+8 J+2 H+5 B-6 V+8
AY 1.45 L+7 J+8 H-8 B-3 V+8 > L+3 J+2 H+7 B+8 V+8
B  0.75 L-9 J-2 V+7 C+8
CH 1.00 O+4 T+9 F+1 H+3 B+2 V-8 C+9 A+3 > O+4 T+6 F+1 H+4 B+2 V-8 R+9 A+3
D  0.75 T+9 F+5 J-1 V+7 C+8
DH 0.70 T+5 F+9 J+1 V+7 R+5
EH 1.10 L+6 J+5 H-2 B+7 V+8 E-4
ER 1.20 L+1 O+4 J+1 T+3 F-5 H+2 V+8 U+9
EY 1.30 L+5 J+4 H+2 B+8 V+8 E+4 > L+3 J+1 H+8 B+9 V+8 E+4
F  1.05 L-5 F-1 J-1 V-8 R+8 A+4
G  0.80 H+9 B-5 V+7 C+8
HH 0.80 L+3 J+3 V-6 A+9 R+2
IH 0.95 L+3 J+1 H+5 B+7 V+8 E-5
IY 1.15 L+3 J-2 H+9 B+9 V+8 E+6
JH 1.00 O+4 T+9 F+1 H+3 B+2 V+6 C+9 > O+4 T+6 F+1 H+4 B+2 V+6 R+8
K  0.90 H+9 B-5 V-8 C+8 A+5
L  0.90 T+8 F+4 H-1 B-4 S+9 V+8
M  0.90 L-9 J-2 N+9 V+8
N  0.90 T+9 F+5 N+9 V+8
NG 1.00 H+9 B-5 N+9 V+8
OW 1.30 L+2 O+6 J+3 H-1 B-7 V+8 E+4 > L-1 O+9 J-1 H+6 B-8 V+8 E+4
OY 1.50 L+2 O+7 J+5 H-4 B-8 V+8 > L+3 J+1 H+7 B+8 V+8
P  0.85 L-9 J-2 V-8 C+8 A+5
R  0.90 O+5 T+4 F-5 B-1 V+8 U+9 E+3
S  1.10 T+7 F+6 J-4 V-8 R+9 A+3
SH 1.10 O+5 T+6 F+0 H+4 B+3 J-3 V-8 R+9 A+3
T  0.85 T+9 F+5 J-1 V-8 C+8 A+5
TH 1.05 T+5 F+9 J+1 V-8 R+6 A+4
UH 0.95 L+1 O+5 H+5 B-5 V+8 E-5
UW 1.20 L-2 O+9 J-2 H+9 B-7 V+8 E+6
V  0.85 L-5 F-1 J-1 V+7 R+6
W  0.85 L-4 O+9 H+7 B-8 V+8 E+1
Y  0.85 L+1 J-3 H+9 B+9 V+8 E+9 R+1
Z  1.00 T+7 F+6 J-4 V+7 R+8
ZH 1.05 O+5 T+6 F+0 H+4 B+3 J-3 V+7 R+8
"""
_LETTERS = "LOJTFHBSNVARCUE"


def _position(words: list[str]) -> NDArray[np.float32]:
    place = np.zeros(len(ARTICULATORS), np.float32)
    for word in words:
        place[_LETTERS.index(word[0])] = int(word[1:]) / 10
    return place


def _read_table() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    onsets, offsets = np.zeros((2, N_CLASSES, len(ARTICULATORS)), np.float32)
    durations = np.ones(N_CLASSES, np.float32)
    for line in _TABLE.strip().splitlines():
        start, _, end = line.partition(">")
        phoneme, duration, *words = start.split()
        row = CLASS_IDS[phoneme]
        durations[row] = float(duration)
        onsets[row] = _position(words)
        offsets[row] = _position(end.split()) if end else onsets[row]
    return onsets, offsets, durations


ONSETS, OFFSETS, DURATIONS = _read_table()
"""Where each class begins and ends, (41, 15); how long it lasts beside an average phoneme, (41,). Silence is rest."""
