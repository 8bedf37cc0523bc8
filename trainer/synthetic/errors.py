"""What can go wrong while data are synthesized, below the trainer's own tree.

SyntheticError
  BadSpec                 a number or a combination that cannot be generated; names the field
  BadLexicon              a dictionary that cannot be read, or lacks words that the sentences need
  FolderTaken             the folder holds something that is not this data set
  CannotWrite             no space, no permission, a disk that failed
"""

from __future__ import annotations

from trainer.contract import Exit
from trainer.errors import TrainerError

__all__ = ["BadLexicon", "BadSpec", "CannotWrite", "FolderTaken", "SyntheticError"]


class SyntheticError(TrainerError):
    """Base of everything that the synthesizer raises on purpose: trying again with the same words cannot help."""

    exit_code = Exit.BAD_CONFIG


class BadSpec(SyntheticError):
    """The specification asks for something that cannot be generated."""


class BadLexicon(SyntheticError):
    """The pronunciation dictionary is unreadable, malformed, or lacks words."""


class FolderTaken(SyntheticError):
    """The output folder holds something else; nothing in it was touched."""


class CannotWrite(SyntheticError):
    """The file system refused: no space, no permission, or an input/output error."""

    exit_code = Exit.FAILED
