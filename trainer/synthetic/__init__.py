"""Synthetic Brain-to-Text data: English sentences, spoken by a simulated vocal tract, heard by simulated electrodes.

    from trainer.synthetic import SyntheticSpec, write_dataset
    write_dataset(Path("data"), SyntheticSpec.tiny())

Every file is marked as synthetic; `is_synthetic` reads the mark.
"""

from trainer.synthetic.dataset import Report, write_dataset
from trainer.synthetic.errors import BadLexicon, BadSpec, CannotWrite, FolderTaken, SyntheticError
from trainer.synthetic.layout import is_synthetic
from trainer.synthetic.lexicon import Lexicon, builtin_lexicon, read_lexicon
from trainer.synthetic.spec import SIZES, SyntheticSpec
from trainer.synthetic.trial import Trial, generate_trial

__all__ = [
    "SIZES",
    "BadLexicon",
    "BadSpec",
    "CannotWrite",
    "FolderTaken",
    "Lexicon",
    "Report",
    "SyntheticError",
    "SyntheticSpec",
    "Trial",
    "builtin_lexicon",
    "generate_trial",
    "is_synthetic",
    "read_lexicon",
    "write_dataset",
]
