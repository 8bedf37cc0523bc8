"""One trial, a pure function of the specification and of where it stands."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.synthetic.errors import BadSpec
from trainer.synthetic.lexicon import Lexicon, builtin_lexicon, read_lexicon
from trainer.synthetic.neural import recording, signal
from trainer.synthetic.seeding import Stream, generator
from trainer.synthetic.sentences import BLOCK_TRIALS, corpus_of, sentence_of, sentences
from trainer.synthetic.spec import SPLITS, Split, SyntheticSpec, session_name
from trainer.synthetic.speech import Utterance, trajectory, utter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Trial", "block_of", "generate_trial", "lexicon_for"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial with everything that is known about it; what reaches the file depends on its split."""

    session: str
    split: Split
    index: int
    block_num: int
    trial_num: int
    corpus: str
    sentence: str
    utterance: Utterance
    """Labels, and where in the trial each is spoken."""
    features: NDArray[np.float32]
    """(n_bins, 512)."""


_read_once = functools.lru_cache(maxsize=2)(read_lexicon)


def lexicon_for(spec: SyntheticSpec) -> Lexicon:
    """The pronunciations that a specification speaks with; raises `BadLexicon`."""
    return builtin_lexicon() if spec.cmudict is None else _read_once(spec.cmudict)


def block_of(spec: SyntheticSpec, split: Split, trial: int) -> int:
    """Block number of a trial: training blocks come first, counted from 1."""
    earlier = sum(-(-spec.trials(s) // BLOCK_TRIALS) for s in SPLITS[: SPLITS.index(split)])
    return 1 + earlier + trial // BLOCK_TRIALS


def generate_trial(spec: SyntheticSpec, session_index: int, trial_index: int, split: Split) -> Trial:
    """Generate one trial, the same whichever were generated before it and in whichever process.

    Takes about 10 ms; the first call for a specification also plans its sentences. Raises `BadSpec` for a place
    outside of the specification, `BadLexicon` when a word has no pronunciation.
    """
    if not (0 <= session_index < spec.sessions and 0 <= trial_index < spec.trials(split)):
        raise BadSpec(
            f"there is no {split} trial {trial_index} in session {session_index} of this specification"
        )
    place = session_index, SPLITS.index(split), trial_index
    sentence = sentence_of(spec, session_index, split, trial_index)
    speech = generator(spec.seed, Stream.SPEECH, *place)
    utterance = utter(sentence, lexicon_for(spec), spec, speech)
    latents = trajectory(utterance, spec, speech)
    day = recording(spec.seed, spec.drift, session_index)
    return Trial(
        session=session_name(session_index),
        split=split,
        index=trial_index,
        block_num=block_of(spec, split, trial_index),
        trial_num=trial_index % BLOCK_TRIALS,
        corpus=corpus_of(trial_index),
        sentence=sentence,
        utterance=utterance,
        features=signal(latents, day, spec, generator(spec.seed, Stream.SIGNAL, *place)),
    )


def planned_sentences(spec: SyntheticSpec) -> list[str]:
    """Every sentence of the data set."""
    return [text for s in range(spec.sessions) for split in SPLITS for text in sentences(spec, s, split)]
