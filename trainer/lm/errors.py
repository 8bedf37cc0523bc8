"""What can go wrong between logits and words, below the trainer's own tree.

LanguageModelError
  MissingPackage          a package of the extra [lm] is not installed
  BadGraph                a decoding graph that cannot be read, is incomplete, or is for other phonemes
  GraphTooLarge           it would not fit the memory; says how much it needs and how much there is
  BadText                 a corpus, lexicon, vocabulary or ARPA file that cannot be used
  BadLogits               logits of the wrong shape, or with NaN in them
  BadOption               an option of the decoder outside of its range
  ServiceLost             the language-model process or its Redis does not answer
"""

from __future__ import annotations

from trainer.contract import Exit
from trainer.errors import TrainerError

__all__ = [
    "BadGraph",
    "BadLogits",
    "BadOption",
    "BadText",
    "GraphTooLarge",
    "LanguageModelError",
    "MissingPackage",
    "ServiceLost",
    "missing_package",
]


class LanguageModelError(TrainerError):
    """Base of everything that `trainer.lm` raises on purpose: trying again with the same input cannot help."""

    exit_code = Exit.BAD_CONFIG


class MissingPackage(LanguageModelError):
    """A package that this part needs is not installed."""


class BadGraph(LanguageModelError):
    """A decoding graph is damaged, incomplete, of another kind, or made for another set of phonemes."""


class GraphTooLarge(LanguageModelError):
    """The graph needs more memory than there is; nothing was loaded."""


class BadText(LanguageModelError):
    """A text, lexicon, vocabulary or ARPA file cannot be read or is inconsistent; names file and line."""


class BadLogits(LanguageModelError):
    """Logits are not (T, 41) finite numbers."""


class BadOption(LanguageModelError):
    """An option is unknown or out of range."""


class ServiceLost(LanguageModelError):
    """The other side of the Redis protocol did not answer within the deadline."""

    exit_code = Exit.FAILED


def missing_package(error: ImportError, what: str) -> MissingPackage:
    """The error for a failed import, with the line that mends it."""
    return MissingPackage(
        f"{what} needs the package {error.name or error}", hint="pip install 'gpu-launch[lm]'"
    )
